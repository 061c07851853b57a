"""Ports for what a test is going to start."""

import random
import socket
from contextlib import suppress


def free_port(*, in_a_row: int = 1) -> int:
    """Return a port, the first of so many `in_a_row`, that nothing listens on and no outgoing connection takes for its
    own before it is used: below the range those come from, and anywhere in it, as two tests may look at once.
    """
    while True:
        first = random.SystemRandom().randrange(12_000, 30_000)
        if all(_is_free(first + further) for further in range(in_a_row)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False

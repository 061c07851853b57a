"""Ports for what a test is going to start."""

import os
import random
import socket
from contextlib import suppress
from typing import Final

FIRST: Final = 12_000
PER_WORKER: Final = 2_000
WORKERS: Final = 9

_given: set[int] = set()


def free_port(*, in_a_row: int = 1) -> int:
    """Return a port, the first of so many `in_a_row`, that nothing listens on and nothing else takes before it is used.

    Below the range of outgoing connections; not one that another worker of the same run looks at, nor one that was
    given before; and anywhere in what is left, as two runs may look at once.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    begin = FIRST + worker * PER_WORKER
    while True:
        first = random.SystemRandom().randrange(begin, begin + PER_WORKER - in_a_row + 1)
        ports = range(first, first + in_a_row)
        if _given.isdisjoint(ports) and all(map(_is_free, ports)):
            _given.update(ports)
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False

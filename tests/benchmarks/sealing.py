"""What sealing, opening and verifying cost: ``python -m tests.benchmarks.sealing``. Prints a table, asserts nothing.

Read the ratios: both sides run in the same minute on the same machine. *alone* is Cobblestone-256 and one SHA-256 over
the ciphertext, the two things that cannot be left out.
"""

import hashlib
import io
import sys
import time
from collections.abc import Callable
from functools import partial

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from rich.console import Console
from rich.table import Table

from broker.sodium import SodiumKey
from broker.wire.recording import open_segment, read_segment
from tests.rules.verifier.bundles import judged, town
from tests.rules.wire.recordings import record, seal, seeded, start

SIZES = (64 * 1024, 512 * 1024, 2 * 1024 * 1024)  # a quiet second, a usual one at 4 Mbit/s, a busy one
ROUNDS = 15


def best_s(act: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the fastest of some runs, in seconds."""
    taken = []
    for _ in range(rounds):
        before = time.perf_counter()
        act()
        taken.append(time.perf_counter() - before)
    return min(taken)


def _seal_alone(plaintext: bytes, key: bytes, header: bytes) -> bytes:
    cipher = Cobblestone256Encryptor(key, header)
    ciphertext = cipher.update(plaintext) + cipher.finalize()
    hashlib.sha256(ciphertext).digest()
    return ciphertext


def _open_alone(ciphertext: bytes, key: bytes, header: bytes) -> bytes:
    hashlib.sha256(ciphertext).digest()
    cipher = Cobblestone256Decryptor(key, header)
    return cipher.update(ciphertext) + cipher.finalize()


def segments() -> Table:
    """Return sealing and opening of one segment beside what cannot be left out of them."""
    table = Table("plaintext", "sealing MB/s", "alone MB/s", "ratio", "opening MB/s", "alone MB/s", "ratio")
    for size in SIZES:
        table.add_row(f"{size // 1024} KiB", *_sealing(size), *_opening(size))
    return table


def _sealing(size: int) -> tuple[str, str, str]:
    plaintext, key, header = seeded("film", size), seeded("key"), bytes(160)
    _, sealer = start()
    return _beside(size, lambda: seal(sealer, plaintext), lambda: _seal_alone(plaintext, key, header))


def _opening(size: int) -> tuple[str, str, str]:
    made = record((seeded("film", size),))
    (raw,), key, public = made.segments, made.key(0), SodiumKey.of(made.public)  # as the worker of a viewing room does

    def ours() -> bytes:
        read_segment(raw, public)
        return open_segment(raw, key)

    return _beside(size, ours, lambda: _open_alone(raw[160:-128], key, raw[:160]))


def _beside(size: int, ours: Callable[[], object], alone: Callable[[], object]) -> tuple[str, str, str]:
    mine, bare = best_s(ours), best_s(alone)
    return f"{size / 1e6 / mine:.0f}", f"{size / 1e6 / bare:.0f}", f"{mine / bare:.2f}"


def bundle() -> Table:
    """Return verifying a bundle of a minute beside one SHA-256 over its bytes."""
    film = (b"init", *(seeded(f"second {n}", 512 * 1024) for n in range(60)))
    made = town(film, first=1, last=60)
    raw = made.pack()
    verifying = best_s(lambda: judged(raw, made.trust), rounds=3)
    hashing = best_s(lambda: hashlib.file_digest(io.BytesIO(raw), "sha256"), rounds=3)
    table = Table("bundle", "verifying MB/s", "one SHA-256 MB/s", "ratio")
    mega = len(raw) / 1e6
    rates = (f"{mega / verifying:.0f}", f"{mega / hashing:.0f}", f"{verifying / hashing:.2f}")
    table.add_row(f"{mega:.0f} MB, with film", *rates)
    return table


def start_of_a_recording() -> Table:
    """Return what a press costs before the first segment, by number of shares."""
    table = Table("shares", "start of a recording, ms")
    for shares in (1, 2, 3):
        table.add_row(str(shares), f"{1000 * best_s(partial(start, shares=shares)):.2f}")
    return table


def main() -> int:
    """Print the tables."""
    console = Console()
    for table in (segments(), start_of_a_recording(), bundle()):
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make torture`: what crashes can do from camera to receiver, in five searches.

``python -m tests.adapters.crash.torture [--all] [--seed N] [--only SEARCH]``. The default plays a sample of the system
calls and half of each writer's operations; `--all` each of them, a night's work; another seed is another sample. The
searches, four of them programs of their own too: every disk a power cut may leave of each writer (here), errors of the
disk (`errors`), an upload cut at each KiB (`cuts`), the power of a real file system cut (`power_cut`), each process
struck at its system calls (`strikes`).

Prints each search's own table as it goes, and one table over all at the end. Ends with 1 when anything was lost, or a
control was not seen to lose.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.adapters.crash import cuts, errors, power_cut, strikes
from tests.adapters.crash.disk import Image, distinct
from tests.adapters.crash.strikes import Chosen
from tests.adapters.crash.tally import Tally
from tests.adapters.crash.trace import python, record, replay
from tests.adapters.crash.writers import WRITERS, Lost, Writer

MEMORY = Path("/dev/shm")

STRIKE_EVERY = 7
"""Of so many system calls one is struck, where not all are."""

SCALE = 0.5
"""How many of a writer's operations are done, where not all are."""


@dataclass
class Found:
    """What one search found."""

    writer: str
    operations: int
    acknowledged: int = 0
    points: int = 0
    states: int = 0
    unreadable: int = 0
    lost: int = 0
    took_s: float = 0.0
    first: list[str] = field(default_factory=list)

    @property
    def failures(self) -> int:
        return self.unreadable + self.lost


def search(name: str, operations: int) -> Found:
    """Run a writer once under strace, then look at every disk it may have left."""
    writer, found, started = WRITERS[name], Found(name, operations), time.monotonic()
    seen: set[tuple[int, int]] = set()
    with _folder() as place:
        root = place / "disk"
        root.mkdir()
        if writer.before is not None:
            writer.before(root)
        before = _read(root)
        lines = record(python("tests.adapters.crash.writers", name, str(root), str(operations)), into=place)
        for disk, acknowledged in replay(lines, root=root, before=before):
            found.points += 1
            found.acknowledged = acknowledged
            for image in distinct(disk.images(), seen, acknowledged=acknowledged):
                found.states += 1
                _judge(writer, found, image, acknowledged, place)
    found.took_s = time.monotonic() - started
    return found


def _judge(writer: Writer, found: Found, image: Image, acknowledged: int, place: Path) -> None:
    after = place / "after"
    shutil.rmtree(after, ignore_errors=True)
    _write(after, image)
    try:
        writer.check(after, acknowledged, found.operations)
    except Lost as lost:
        found.lost += 1
        _note(found, image, acknowledged, f"lost: {lost}")
    except Exception as unreadable:  # noqa: BLE001 - whatever a reader stumbles over is what is looked for
        found.unreadable += 1
        _note(found, image, acknowledged, f"unreadable: {type(unreadable).__name__}: {unreadable}")


def _note(found: Found, image: Image, acknowledged: int, what: str) -> None:
    if len(found.first) < 3:
        files = ", ".join(f"{path}={len(content)}" for path, content in sorted(image.items()))
        found.first.append(f"point {found.points}, {acknowledged} acknowledged: {what} [{files[:300]}]")


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vo-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def _read(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in sorted(root.rglob("*"))
    }


def _write(root: Path, image: Image) -> None:
    root.mkdir()
    for path, content in image.items():
        target = root / path
        if path.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def main(scale: float) -> Tally:
    """Search every writer at this scale (1 is the whole) and print the table."""
    print(f"{'writer':36} {'operations':>10} {'points':>7} {'states':>7} {'unreadable':>10} {'lost':>6} {'s':>6}")
    bad, states, points = list[str](), 0, 0
    for name, writer in WRITERS.items():
        found = search(name, max(int(writer.whole_run * scale), 3))
        print(
            f"{name:36} {found.operations:>10} {found.points:>7} {found.states:>7} "
            f"{found.unreadable:>10} {found.lost:>6} {found.took_s:>6.1f}",
            flush=True,
        )
        if not writer.control:
            states, points = states + found.states, points + found.points
        if bool(found.failures) != writer.control:
            bad.append(name)
            print("   ", *found.first, sep="\n    ")
    for name in bad:
        print(f"FAILED: {name}")
    return Tally(states=states, points=points, failures=len(bad))


@dataclass(frozen=True)
class Search:
    """One of the five: what it is called, what it says of itself, and how it is done."""

    name: str
    what: str
    work: Callable[[], Tally]


def searches(*, everything: bool, seed: int) -> tuple[Search, ...]:
    """Return them, the quick ones first."""
    every = 1 if everything else STRIKE_EVERY
    sizes = power_cut.SIZES if everything else power_cut.SIZES[1:]
    return (
        Search("disks", "every disk a power cut may leave of a writer", lambda: main(1.0 if everything else SCALE)),
        Search("errors", "a call of a writer refused by the disk", errors.main),
        Search("cuts", "an upload cut at each KiB", lambda: cuts.main(1)),
        Search("power", "the power of a real file system cut under load", lambda: power_cut.main(3.0, sizes=sizes)),
        Search("strikes", "a process struck at a system call", lambda: strikes.main(every, Chosen(seed=seed))),
    )


def play(chosen: Sequence[Search], *, seed: int) -> int:
    """Do these, one after the other, and print the table over all; return 1 when any of them found a fault."""
    began, lines, worst = time.monotonic(), list[str](), 0
    for number, search_ in enumerate(chosen, 1):
        started = time.monotonic()
        print(f"\n{number} of {len(chosen)}: {search_.what}", flush=True)
        tally = search_.work()
        worst = max(worst, tally.exit_code)
        which = seed if search_.name == "strikes" else "-"
        minutes = (time.monotonic() - started) / 60
        why = f"  skipped: {tally.skipped}" if tally.skipped else ""
        lines.append(
            f"{search_.name:9} {tally.states:>7} {tally.points:>7} {which:>5} {tally.failures:>9} {minutes:>8.1f}{why}"
        )
    print(f"\n{'search':9} {'states':>7} {'points':>7} {'seed':>5} {'failures':>9} {'minutes':>8}", *lines, sep="\n")
    print(f"{(time.monotonic() - began) / 60:.0f} minutes; {'FAILED' if worst else 'nothing was lost'}")
    return worst


def _arguments() -> argparse.Namespace:
    words = argparse.ArgumentParser(prog="python -m tests.adapters.crash.torture", description=__doc__)
    words.add_argument("--all", action="store_true", help="each moment and each system call: a night")
    words.add_argument("--seed", type=int, default=0, help="which sample of the system calls")
    words.add_argument("--only", action="append", choices=[each.name for each in searches(everything=False, seed=0)])
    return words.parse_args()


if __name__ == "__main__":
    said = _arguments()
    wanted = [each for each in searches(everything=said.all, seed=said.seed) if not said.only or each.name in said.only]
    sys.exit(play(wanted, seed=said.seed))

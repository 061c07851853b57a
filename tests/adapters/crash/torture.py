"""`make torture`: what crashes can do from camera to receiver, in five searches.

``python -m tests.adapters.crash.torture [--all] [--seed N] [--only SEARCH]``. The default plays a sample of the system
calls and half of each writer's operations; `--all` each of them, a night's work; another seed is another sample. The
searches, four of them programs of their own too: every disk a power cut may leave of each writer (here), errors of the
disk (`errors`), an upload cut at each KiB (`cuts`), the power of a real file system cut (`power_cut`), each process
struck at its system calls (`strikes`).

Prints each search's own table as it goes, and one table over all at the end; Ctrl-C stops it, with the table of what is
known so far. Ends with 1 when anything was lost or a control was not seen to lose, with 130 when it was stopped.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.adapters.crash import cuts, errors, power_cut, strikes
from tests.adapters.crash.disk import Image, distinct
from tests.adapters.crash.strikes import Chosen
from tests.adapters.crash.tally import Tally
from tests.adapters.crash.trace import python, record, replay
from tests.adapters.crash.writers import WRITERS, Lost, Writer, full_size_afterwards

MEMORY = Path("/dev/shm")

STRIKE_EVERY = 7
"""Of so many system calls one is struck, where not all are."""

SCALE = 0.5
"""How many of a writer's operations are done, where not all are."""

CONTROL_SEEN = 20
"""A control that lost this often has been seen."""

STOPPED = 130


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


def search(name: str, operations: int, *, tally: Tally | None = None) -> Found:
    """Run a writer once under strace, then look at every disk it may have left. `tally` counts what is no control."""
    writer, found, started = WRITERS[name], Found(name, operations), time.monotonic()
    counted = Tally() if tally is None or writer.control else tally
    seen: set[tuple[int, int]] = set()
    with _folder() as place:
        root = place / "disk"
        root.mkdir()
        if writer.before is not None:
            writer.before(root)
        before = _read(root)
        lines = record(python("tests.adapters.crash.writers", name, str(root), str(operations)), into=place)
        for disk, acknowledged in replay(lines, root=root, before=before):
            if writer.control and found.failures > CONTROL_SEEN:
                break
            found.points += 1
            counted.points += 1
            found.acknowledged = acknowledged
            for image in distinct(disk.images(), seen, acknowledged=acknowledged):
                found.states += 1
                counted.states += 1
                _judge(writer, found, image, acknowledged, place)
                if tally is not None:
                    tally.still(f"{name}, {found.states} states, {found.points} points")
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


def main(scale: float, tally: Tally) -> None:
    """Search every writer at this scale (1 is the whole) and print the table."""
    print(f"{'writer':36} {'operations':>10} {'points':>7} {'states':>7} {'unreadable':>10} {'lost':>6} {'s':>6}")
    bad = list[str]()
    for name, writer in WRITERS.items():
        found = search(name, max(int(writer.whole_run * scale), 3), tally=tally)
        print(
            f"{name:36} {found.operations:>10} {found.points:>7} {found.states:>7} "
            f"{found.unreadable:>10} {found.lost:>6} {found.took_s:>6.1f}",
            flush=True,
        )
        if bool(found.failures) != writer.control:
            bad.append(name)
            tally.failures += 1
            print("   ", *found.first, sep="\n    ")
    for name in bad:
        print(f"FAILED: {name}")


@dataclass(frozen=True)
class Search:
    """One of the five: what it is called, what it says of itself, and how it is done."""

    name: str
    what: str
    work: Callable[[Tally], None]


def searches(*, everything: bool, seed: int) -> tuple[Search, ...]:
    """Return them, the quick ones first."""
    every = 1 if everything else STRIKE_EVERY
    sizes = power_cut.SIZES if everything else power_cut.SIZES[1:]
    return (
        Search("disks", "every disk a power cut may leave of a writer", partial(main, 1.0 if everything else SCALE)),
        Search("errors", "a call of a writer refused by the disk", errors.main),
        Search("cuts", "an upload cut at each KiB", partial(cuts.main, 1)),
        Search("power", "the power of a real file system cut under load", partial(power_cut.main, 3.0, sizes=sizes)),
        Search("strikes", "a process struck at a system call", partial(strikes.main, every, Chosen(seed=seed))),
    )


def play(chosen: Sequence[Search], *, seed: int) -> int:
    """Do these, one after the other, and print the table over all; return 1 for a fault, 130 when it was stopped."""
    began, tallies, stopped = time.monotonic(), dict[str, Tally](), False
    for number, search_ in enumerate(chosen, 1):
        print(f"\n{number} of {len(chosen)}: {search_.what}", flush=True)
        tallies[search_.name] = tally = Tally()
        try:
            with full_size_afterwards():
                search_.work(tally)
        except KeyboardInterrupt:
            stopped = True
            break
        except Exception:  # noqa: BLE001 - what the other searches found is not lost with this one
            traceback.print_exc()
            tally.failures += 1
        finally:
            tally.end()
    _table(chosen, tallies, seed=seed, stopped=stopped)
    failed = any(tally.failures for tally in tallies.values())
    verdict = "FAILED" if failed else "nothing was lost so far" if stopped else "nothing was lost"
    print(f"{(time.monotonic() - began) / 60:.0f} minutes; {verdict}", flush=True)
    return 1 if failed else STOPPED if stopped else 0


def _table(chosen: Sequence[Search], tallies: dict[str, Tally], *, seed: int, stopped: bool) -> None:
    print(f"\n{'search':9} {'states':>7} {'points':>7} {'seed':>5} {'failures':>9} {'minutes':>8}")
    last = list(tallies)[-1]
    for search_ in chosen:
        if (tally := tallies.get(search_.name)) is None:
            print(f"{search_.name:9} not begun")
            continue
        which = seed if search_.name == "strikes" else "-"
        why = f"  skipped: {tally.skipped}" if tally.skipped else ""
        why += "  stopped half way" if stopped and search_.name == last else ""
        print(
            f"{search_.name:9} {tally.states or '-':>7} {tally.points:>7} {which:>5} {tally.failures:>9} "
            f"{tally.took_s / 60:>8.1f}{why}"
        )


def _arguments() -> argparse.Namespace:
    words = argparse.ArgumentParser(prog="python -m tests.adapters.crash.torture", description=__doc__)
    words.add_argument("--all", action="store_true", help="each moment and each system call: a night")
    words.add_argument("--seed", type=int, default=0, help="which sample of the system calls")
    words.add_argument("--only", action="append", choices=[each.name for each in searches(everything=False, seed=0)])
    return words.parse_args()


def _stop(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # as Ctrl-C: a disk is unmounted, and what is known is said
    said = _arguments()
    wanted = [each for each in searches(everything=said.all, seed=said.seed) if not said.only or each.name in said.only]
    sys.exit(play(wanted, seed=said.seed))

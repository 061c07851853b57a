"""`python -m tests.adapters.crash.torture [SCALE]`: each durable writer, each moment, each disk a power cut may leave.

Without SCALE everything, and then the errors of the disk (`errors`), the power really cut (`power_cut`), the upload cut
at each KiB (`cuts`), and each process of an offload struck at each of its system calls (`strikes`): a night's work.

Prints the tables: operations, moments at which the power goes, distinct disks looked at, what was unreadable or lost.
Ends with 1 when a writer lost anything, or a control did not.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.adapters.crash import cuts, errors, power_cut, strikes
from tests.adapters.crash.disk import Image, distinct
from tests.adapters.crash.trace import python, record, replay
from tests.adapters.crash.writers import WRITERS, Lost, Writer

MEMORY = Path("/dev/shm")


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


def main(scale: float) -> int:
    """Search everything at this scale (1 is the whole) and print the table."""
    print(f"{'writer':36} {'operations':>10} {'points':>7} {'states':>7} {'unreadable':>10} {'lost':>6} {'s':>6}")
    bad, total = [], 0
    for name, writer in WRITERS.items():
        found = search(name, max(int(writer.whole_run * scale), 3))
        print(
            f"{name:36} {found.operations:>10} {found.points:>7} {found.states:>7} "
            f"{found.unreadable:>10} {found.lost:>6} {found.took_s:>6.1f}",
            flush=True,
        )
        total += 0 if writer.control else found.states
        if bool(found.failures) != writer.control:
            bad.append(name)
            print("   ", *found.first, sep="\n    ")
    print(f"{total} states of {sum(not each.control for each in WRITERS.values())} writers, controls apart")
    for name in bad:
        print(f"FAILED: {name}")
    return 1 if bad else 0


def whole() -> int:
    """Do everything there is, one after the other; return 1 when any of it found a fault."""
    began, worst = time.monotonic(), main(1.0)
    for what, work in (
        ("Errors of the disk (errors.py):", errors.main),
        ("The power of a real file system cut under load (power_cut.py):", lambda: power_cut.main(3.0)),
        ("An upload cut at each KiB (cuts.py):", lambda: cuts.main(1)),
        ("Struck at each system call (strikes.py):", lambda: strikes.main(1, ("bundles", "one by one"))),
    ):
        print(f"\n{what}", flush=True)
        worst = max(worst, work())
    print(f"\n{(time.monotonic() - began) / 60:.0f} minutes")
    return worst


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])) if len(sys.argv) > 1 else whole())

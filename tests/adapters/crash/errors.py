"""`python -m tests.adapters.crash.errors`: each writer with the n-th call refused by the disk, by strace.

The n-th sync, write or name fails; what was promised before, or in spite of it, must be there and whole.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.adapters.crash.tally import Tally
from tests.adapters.crash.writers import WRITERS, Lost, Unreadable

CALLS = ("fsync", "write", "linkat,link", "rename", "syncfs")
NAMES = ("vault: put", "vault: bundle", "dock: state", "dock: receipts", "camera: card")
OPERATIONS = 6


def refused(name: str, calls: str, error: str, number: int) -> tuple[bool, str]:
    """Run a writer whose `number`-th call fails; return (whether it noticed, what is wrong afterwards)."""
    writer = WRITERS[name]
    with tempfile.TemporaryDirectory(prefix="vo-") as it:
        folder = Path(it)
        if writer.before is not None:
            writer.before(folder)
        done = subprocess.run(
            [
                *("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"),
                *("-e", f"inject={calls}:error={error}:when={number}"),
                *(sys.executable, "-m", "tests.adapters.crash.writers", name, str(folder), str(OPERATIONS)),
            ],
            capture_output=True,
            check=False,
            timeout=60,
        )
        try:
            writer.check(folder, done.stdout.count(b"."), OPERATIONS)
        except (Lost, Unreadable) as wrong:
            return done.returncode != 0, f"{type(wrong).__name__}: {wrong}"
        return done.returncode != 0, ""


def main() -> Tally:
    """Print the table; a failure is an error that was taken for success."""
    print(f"{'writer':16} {'error':7} {'runs':>5} {'noticed':>8} {'wrong':>6}")
    bad, points = list[str](), 0
    for name in NAMES:
        for error in ("EIO", "ENOSPC"):
            runs = [(calls, number, *refused(name, calls, error, number)) for calls in CALLS for number in (1, 2, 3, 6)]
            wrong = [f"{name}, {error} at {calls} {number}: {what}" for calls, number, _, what in runs if what]
            noticed = sum(saw for _, _, saw, _ in runs)
            print(f"{name:16} {error:7} {len(runs):>5} {noticed:>8} {len(wrong):>6}", flush=True)
            points += len(runs)
            bad += wrong
    for each in bad:
        print(f"FAILED: {each}")
    return Tally(states=points, points=points, failures=len(bad))


if __name__ == "__main__":
    sys.exit(main().exit_code)

"""`python -m tests.adapters.crash.errors`: each writer with the n-th call refused by the disk, by strace.

The n-th sync, write or name fails; what was promised before, or in spite of it, must be there and whole.
"""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.adapters.crash.tally import Tally
from tests.adapters.crash.writers import WRITERS

CALLS = ("fsync", "write", "linkat,link", "rename", "syncfs")
NAMES = ("vault: put", "vault: bundle", "dock: state", "dock: receipts", "camera: card")
NUMBERS = (1, 2, 3, 6)
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
            timeout=600,
        )
        try:
            writer.check(folder, done.stdout.count(b"."), OPERATIONS)
        except Exception as wrong:  # noqa: BLE001 - whatever a reader stumbles over is what is looked for
            return done.returncode != 0, f"{type(wrong).__name__}: {wrong}"
        return done.returncode != 0, ""


def main(tally: Tally) -> None:
    """Print the table; a failure is an error that was taken for success."""
    print(f"{'writer':16} {'error':7} {'runs':>5} {'noticed':>8} {'wrong':>6}")
    bad = list[str]()
    for name in NAMES:
        for error in ("EIO", "ENOSPC"):
            runs = noticed = wrong = 0
            for calls, number in itertools.product(CALLS, NUMBERS):
                saw, what = refused(name, calls, error, number)
                runs, noticed = runs + 1, noticed + saw
                tally.states, tally.points = tally.states + 1, tally.points + 1
                if what:
                    wrong += 1
                    tally.failures += 1
                    bad.append(f"{name}, {error} at {calls} {number}: {what}")
                tally.still(f"{name}, {error}, {runs} runs")
            print(f"{name:16} {error:7} {runs:>5} {noticed:>8} {wrong:>6}", flush=True)
    for each in bad:
        print(f"FAILED: {each}")


if __name__ == "__main__":
    alone = Tally()
    main(alone)
    sys.exit(alone.exit_code)

"""`make bench`: every benchmark in its short form, one after the other; each can be run longer by itself."""

import subprocess
import sys
from typing import Final

SHORT: Final = (
    ("sealing and opening a recording, verifying a bundle", ["tests.benchmarks.sealing"]),
    ("the ledger", ["tests.benchmarks.ledger"]),
    ("the Kluis", ["tests.benchmarks.kluis"]),
    ("the broker with fifty cameras", ["tests.benchmarks.broker", "--cameras", "50", "--seconds", "10"]),
    ("the receiver beside its peers", ["tests.benchmarks.upload"]),
    ("the dock beside its peers, card to wipe, an evening", ["tests.benchmarks.offload"]),
    ("half a minute of film made unrecognisable", ["tests.benchmarks.redaction"]),
)


def main() -> int:
    """Return how many benchmarks could not be run."""
    failed = 0
    for what, module in SHORT:
        print(f"\n=== {what} ({' '.join(module)})\n", flush=True)
        failed += subprocess.run([sys.executable, "-m", *module], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())

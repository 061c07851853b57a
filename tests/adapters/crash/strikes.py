"""`python -m tests.adapters.crash.strikes [--every N] [--way WAY]`: each process struck at each of its durable calls.

Prints a table: who, how, how many calls a whole offload makes of that kind, at how many of them it was struck, what
was not right afterwards. Every fault is printed with its strike, to be played again with `--only`. The control is a
receiver that writes segments under their own names: when nothing is seen of that, it is the looking that is broken.
"""

import argparse
import errno
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.adapters.crash.calls import DISK_FULL, DISK_SICK, Fault, NoTrap
from tests.adapters.crash.offload import PARTS, Ended, Part, Strike, Way, rig

DISK_FULL_CALLS = 25
"""How many calls in a row a full disk refuses, before somebody makes room."""

SKIPPED = 77

KINDS: tuple[tuple[str, Fault, int], ...] = (
    ("killed", None, 1),
    ("EIO", DISK_SICK, 1),
    ("ENOSPC", DISK_FULL, 1),
    ("disk full for a while", DISK_FULL, DISK_FULL_CALLS),
)


@dataclass
class Row:
    """One line of the table."""

    part: Part
    way: Way
    kind: str
    points: int = 0
    last_call: int = 0
    restarts: int = 0
    took_s: float = 0.0
    bad: list[Ended] = field(default_factory=list)

    def add(self, ended: Ended) -> None:
        self.points += bool(ended.stopped_at)
        self.last_call = max(self.last_call, ended.strike.at or 0)
        self.restarts += ended.restarts
        if ended.faults:
            self.bad.append(ended)


def sweep(
    play: Callable[[Strike], Ended], part: Part, way: Way, fault: Fault, lasts: int, every: int
) -> Iterator[Ended]:
    """Strike at call 1, 1 + every, ... until an offload is over before it comes to that call."""
    at = 1 + PARTS.index(part) % every
    while True:
        ended = play(Strike(part, at, fault, lasts, way))
        yield ended
        if not ended.stopped_at:
            return
        at += every


def control(play: Callable[[Strike], Ended]) -> bool:
    """Kill a careless receiver while it writes; return whether that was seen."""
    calls = play(Strike("receiver", None, careless=True)).all_calls
    writes = [at for at, call in enumerate(calls, 1) if call.name == "write" and "/vault/" in call.about]
    return any(play(Strike("receiver", at, careless=True)).faults for at in writes)


def quick() -> int:
    """A few points of each: the sample that every build plays."""
    bad = list[Ended]()
    try:
        with rig() as play:
            for part in PARTS:
                calls = len(play(Strike(part, None)).all_calls)
                for fault, lasts, share in ((None, 1, 0.3), (None, 1, 0.6), (None, 1, 0.9), (DISK_FULL, 25, 0.5)):
                    ended = play(Strike(part, int(calls * share), fault, lasts))
                    print(ended.strike, *ended.stopped_at[:1], *ended.faults, sep=", ", flush=True)
                    bad += [ended] * bool(ended.faults)
            seen = control(play)
    except NoTrap as why:
        print(f"skipped: {why}")
        return SKIPPED
    print("the control was seen" if seen else "FAILED: the control was not seen")
    for each in bad:
        print(each.story)
    return 1 if bad or not seen else 0


def main(every: int, ways: tuple[Way, ...]) -> int:
    """Print the table; return 1 when anything was lost, doubled, half there, or waited for a person."""
    head = f"{'who':9} {'way':11} {'how':22} {'points':>7} {'calls':>6} {'restarts':>9} {'faults':>7} {'s':>6}"
    print(head, flush=True)
    bad = list[Ended]()
    try:
        with rig() as play:
            if not control(play):
                print("FAILED: a receiver that writes under the final name was not seen")
                return 1
            for way in ways:
                for kind, fault, lasts in KINDS:
                    for part in PARTS:
                        row, began = Row(part, way, kind), time.monotonic()
                        for ended in sweep(play, part, way, fault, lasts, every):
                            row.add(ended)
                        took_s = time.monotonic() - began
                        print(
                            f"{part:9} {way:11} {kind:22} {row.points:>7} {row.last_call:>6} {row.restarts:>9} "
                            f"{len(row.bad):>7} {took_s:>6.0f}",
                            flush=True,
                        )
                        bad += row.bad
    except NoTrap as why:
        print(f"skipped: {why}")
        return 0
    for each in bad:
        print(f"FAILED: {each.strike} ({', '.join(map(str, each.stopped_at[:1]))}): {'; '.join(each.faults)}")
    return 1 if bad else 0


def only(strike: Strike) -> int:
    """Play one strike and tell all about it."""
    with rig() as play:
        ended = play(strike)
    print(f"{strike}: {ended.stopped_at}, {ended.restarts} restarts, {ended.took_s:.1f} s")
    print(ended.story, *ended.faults, sep="\n")
    return 1 if ended.faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--way", choices=("bundles", "one by one"))
    parser.add_argument("--only", nargs=3, metavar=("PART", "ERROR", "CALL"), help="camera killed 17; dock EIO 3")
    said = parser.parse_args()
    if said.only:
        error = None if said.only[1] == "killed" else getattr(errno, said.only[1])
        sys.exit(only(Strike(said.only[0], int(said.only[2]), error, 1, said.way or "bundles")))
    if said.quick:
        sys.exit(quick())
    sys.exit(main(said.every, (said.way,) if said.way else ("bundles", "one by one")))

"""`python -m tests.adapters.crash.strikes [--every N]`: each process struck at each of its durable calls.

Prints a table: who, how, how many calls a whole offload makes of that kind, at how many of them it was struck, what
was not right afterwards. Every fault is printed at once, with the words for `--only` that play it again. `--part`,
`--kind` and `--way` choose one row of the table, `--start` the first call of it. The control is a receiver that writes
segments under their own names: when nothing is seen of that, it is the looking that is broken.
"""

import argparse
import errno
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.adapters.crash.calls import DISK_FULL, DISK_SICK, Fault, NoTrap
from tests.adapters.crash.offload import PARTS, WAYS, Ended, Part, Strike, Way, rig
from tests.adapters.crash.tally import Tally

DISK_FULL_CALLS = 25
"""How many calls in a row a full disk refuses, before somebody makes room."""

SKIPPED = 77

KINDS: tuple[tuple[str, Fault, int], ...] = (
    ("killed", None, 1),
    ("EIO", DISK_SICK, 1),
    ("ENOSPC", DISK_FULL, 1),
    ("disk full for a while", DISK_FULL, DISK_FULL_CALLS),
)


@dataclass(frozen=True)
class Chosen:
    """The rows of the table that are played. No `kinds`: all of them."""

    parts: tuple[Part, ...] = PARTS
    ways: tuple[Way, ...] = WAYS
    kinds: tuple[str, ...] = ()
    start: int | None = None
    seed: int = 0

    def rows(self) -> Iterator[tuple[Part, Way, str, Fault, int]]:
        for way in self.ways:
            for kind, fault, lasts in KINDS:
                if not self.kinds or kind in self.kinds:
                    for part in self.parts:
                        yield part, way, kind, fault, lasts


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

    def __str__(self) -> str:
        return (
            f"{self.part:9} {self.way:11} {self.kind:22} {self.points:>7} {self.last_call:>6} {self.restarts:>9} "
            f"{len(self.bad):>7} {self.took_s:>6.0f}"
        )

    def add(self, ended: Ended) -> None:
        self.points += bool(ended.stopped_at)
        self.last_call = max(self.last_call, ended.strike.at or 0)
        self.restarts += ended.restarts
        if ended.faults:
            self.bad.append(ended)


def sweep(
    play: Callable[[Strike], Ended],
    part: Part,
    way: Way,
    fault: Fault,
    lasts: int,
    every: int,
    *,
    start: int | None = None,
    seed: int = 0,
) -> Iterator[Ended]:
    """Strike at call `start`, `start` + every, ... until an offload is over before it comes to that call.

    Without `start` the `seed` says which of each `every` calls are struck: another seed, other calls.
    """
    at = start or 1 + (PARTS.index(part) + seed) % every
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
    """Two strikes at each: the sample that every build plays."""
    bad = list[Ended]()
    try:
        with rig() as play:
            for part in PARTS:
                calls = len(play(Strike(part, None)).all_calls)
                for fault, lasts, share in ((None, 1, 0.6), (DISK_FULL, DISK_FULL_CALLS, 0.5)):
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


def main(every: int, chosen: Chosen, tally: Tally) -> None:
    """Print the table; a failure is a strike after which anything was lost, doubled, half there, or waited for."""
    print(
        f"{'who':9} {'way':11} {'how':22} {'points':>7} {'calls':>6} {'restarts':>9} {'faults':>7} {'s':>6}", flush=True
    )
    try:
        with rig() as play:
            if not control(play):
                print("FAILED: a receiver that writes under the final name was not seen")
                tally.failures += 1
                return
            for part, way, kind, fault, lasts in chosen.rows():
                row, began = Row(part, way, kind), time.monotonic()
                for ended in sweep(play, part, way, fault, lasts, every, start=chosen.start, seed=chosen.seed):
                    row.add(ended)
                    tally.points += bool(ended.stopped_at)
                    if ended.faults:
                        tally.failures += 1
                        print(f"FAILED: {ended.strike} {ended.stopped_at[:1]}: {'; '.join(ended.faults)}", flush=True)
                    tally.still(f"{part}, {way}, {kind}: call {row.last_call}, {row.points} points")
                row.took_s = time.monotonic() - began
                print(row, flush=True)
    except NoTrap as why:
        print(f"skipped: {why}")
        tally.skipped = str(why)


def only(strike: Strike) -> int:
    """Play one strike and tell all about it."""
    with rig() as play:
        ended = play(strike)
    print(f"{strike}: {ended.stopped_at}, {ended.restarts} restarts, {ended.took_s:.1f} s")
    print(ended.story, *ended.faults, sep="\n")
    return 1 if ended.faults else 0


def _arguments() -> argparse.Namespace:
    words = argparse.ArgumentParser(prog="python -m tests.adapters.crash.strikes", description=__doc__)
    words.add_argument("--every", type=int, default=1)
    words.add_argument("--start", type=int, help="the first call to strike")
    words.add_argument("--quick", action="store_true")
    words.add_argument("--part", choices=PARTS, action="append")
    words.add_argument("--kind", choices=[kind for kind, _, _ in KINDS], action="append")
    words.add_argument("--way", choices=WAYS, action="append")
    words.add_argument("--only", nargs=3, metavar=("PART", "ERROR", "CALL"), help="camera killed 17; dock EIO 3")
    words.add_argument("--lasts", type=int, default=1, help="with --only: how many calls in a row fail")
    return words.parse_args()


if __name__ == "__main__":
    said = _arguments()
    ways: tuple[Way, ...] = tuple(said.way or WAYS)
    if said.only:
        error = None if said.only[1] == "killed" else getattr(errno, said.only[1])
        sys.exit(only(Strike(said.only[0], int(said.only[2]), error, said.lasts, ways[0])))
    if said.quick:
        sys.exit(quick())
    alone = Tally()
    main(said.every, Chosen(tuple(said.part or PARTS), ways, tuple(said.kind or ()), said.start), alone)
    sys.exit(SKIPPED if alone.skipped else alone.exit_code)

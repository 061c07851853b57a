"""What was made unrecognisable in a film, told second by second, as captions (WebVTT): the same plan, the same bytes.

Who gets such a film sees blocks and hears nothing for a while; this says that somebody chose so. The verifier makes it
again from the plan, and compares.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

HELD_S: Final = 0.5
"""How long something is hidden before it was first and after it was last seen, as in the plan's own rules."""

_HEADER: Final = "WEBVTT\n\nNOTE Wat er onherkenbaar is gemaakt, volgens het plan dat in het logboek staat.\n"


def captions(plan: bytes) -> bytes:
    """Return the captions of a plan (canonical JSON); raise ValueError for what is not one."""
    try:
        said = json.loads(plan)
        lines = list(_lines(said, math.ceil(float(said["length_s"]))))
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as cause:
        raise ValueError("expected a plan of what was made unrecognisable") from cause
    cues = [f"\n{_clock(begin)} --> {_clock(end)}\n{text}\n" for begin, end, text in _joined(lines) if text]
    return "".join([_HEADER, *cues]).encode()


def _lines(plan: Mapping[str, Any], seconds: int) -> Iterator[str]:
    """Yield what to say in each second."""
    if not 0 <= seconds <= 1_000_000:
        raise ValueError(f"expected the length of a film, got {seconds} s")
    faces, parts, seen = Counter[int](), Counter[int](), Counter[int]()
    for track in plan["tracks"]:
        first, last = float(track["keys"][0][0]), float(track["keys"][-1][0])
        counted = (parts if track["drawn"] else faces) if track["hidden"] else seen
        held_s = HELD_S if track["hidden"] else 0.0
        counted.update(range(max(0, math.floor(first - held_s)), min(seconds, math.ceil(last + held_s))))
    muted = {
        second
        for span in plan["mutes"]
        for second in range(max(0, math.floor(span["from_s"])), min(seconds, math.ceil(span["until_s"])))
    }
    for second in range(seconds):
        said = []
        if plan["rest_hidden"]:
            said.append("hele beeld onherkenbaar gemaakt" + (f", behalve {_parts(seen[second])}" * bool(seen[second])))
        elif faces[second] or parts[second]:
            found = [_faces(faces[second])] * bool(faces[second]) + [_parts(parts[second])] * bool(parts[second])
            said.append(" en ".join(found) + " onherkenbaar gemaakt")
        if second in muted:
            said.append("geluid weggehaald")
        yield f"[{'; '.join(said)}]" if said else ""


def _faces(count: int) -> str:
    return f"{count} gezicht" if count == 1 else f"{count} gezichten"


def _parts(count: int) -> str:
    return f"{count} deel van het beeld" if count == 1 else f"{count} delen van het beeld"


def _joined(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    begin = 0
    for second in range(1, len(lines) + 1):
        if second == len(lines) or lines[second] != lines[begin]:
            yield begin, second, lines[begin]
            begin = second


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.000"

"""Which pieces of a recording a room may show."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from broker.wire.policy import Via
from broker.wire.recording import Flag, Kind
from broker.wire.refusals import Refused
from cloud.viewing.reels import Reel, reel_of
from tests.rules.rules.towns import heusden

PRESS = datetime(2026, 11, 22, 12, tzinfo=UTC)


def line(sequence: int, second: int, *, flags: Flag = Flag.NONE, kind: Kind = Kind.VIDEO) -> Any:
    at = PRESS + timedelta(seconds=second)
    return SimpleNamespace(
        sequence=sequence, kind=kind, digest=f"{sequence:064x}", flags=flags, starts_at=at,
        ends_at=at + timedelta(seconds=1), ciphertext_bytes=1_000,
    )  # fmt: skip


def seconds(first: int, last: int, *, marked: bool = True) -> list[Any]:
    """Return segment 0, and one for each second since the press; a camera marks those from before it."""
    before = Flag.PRE_RECORD if marked else Flag.NONE
    own = [line(n, at, flags=before if at < 0 else Flag.NONE) for n, at in enumerate(range(first, last), start=1)]
    return [line(0, first), *own]


def shown(lines: list[Any], *, via: Via = Via.DOCK, too_much: bool = True) -> Reel:
    row = SimpleNamespace(camera="cam-07", public_key=b"k", activated_at=PRESS, deviations=(), via=via)
    covers = heusden() if too_much else None
    return reel_of("r", row, lines, (), part=None, with_files=False, covers=covers)


@pytest.mark.rule("E-13")
@pytest.mark.parametrize(("via", "marked"), [(Via.DOCK, True), (Via.IMPORT, False)])
def test_of_two_minutes_from_before_the_press_heusden_sees_thirty_seconds(via: Via, marked: bool) -> None:
    """Whether a camera marked them or two people declared when the button was pressed."""
    pieces = shown(seconds(-120, 20, marked=marked), via=via).pieces
    assert pieces[0].starts_at == PRESS - timedelta(seconds=30)
    assert [piece.pre_record for piece in pieces].count(True) == 30
    assert len(shown(seconds(-120, 20, marked=marked), via=via, too_much=False).pieces) == 140


@pytest.mark.rule("E-13")
def test_more_than_the_policy_covers_stays_shut_when_nothing_says_where_the_press_was() -> None:
    with pytest.raises(Refused, match="footage in this range"):
        shown(seconds(-120, 0))
    with pytest.raises(Refused, match="a decision on its excess"):
        shown([*seconds(-120, 20), line(141, 20, kind=Kind.FILE)])

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.commands import Answer, Listener, give, judge, signed_bytes
from broker.wire.events import Command
from broker.wire.ids import parse_device, parse_org, tenant_id

TOWN = parse_org("dorpstad")
CAMERA = parse_device("cam-01")
BOOT = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()


def an_order(**changes: Any) -> Command:
    facts: dict[str, Any] = {
        "command": UUID(int=7),
        "org": TOWN,
        "camera": CAMERA,
        "counter": 5,
        "issued_at": NOON,
        "expires_at": NOON + timedelta(seconds=30),
        "key": KEY,
    }
    return give("start", **(facts | changes))


def a_camera(**changes: Any) -> Listener:
    facts: dict[str, Any] = {"org": TOWN, "camera": CAMERA, "key": KEY.public_key(), "booted_at": BOOT, "highest": 4}
    return Listener(**(facts | changes))


SECOND = timedelta(seconds=1)
INSTANT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("order", "camera", "retained", "now", "answer"),
    [
        (an_order(), a_camera(), False, NOON + SECOND, Answer.OBEY),
        (an_order(), a_camera(highest=5), False, NOON + SECOND, Answer.REPLAYED),
        (an_order(), a_camera(highest=6), False, NOON + SECOND, Answer.REORDERED),
        (an_order(), a_camera(), False, NOON + 31 * SECOND, Answer.EXPIRED),
        (an_order(), a_camera(), False, NOON + 30 * SECOND, Answer.EXPIRED),
        (an_order(), a_camera(), True, NOON + SECOND, Answer.RETAINED),
        (an_order(), a_camera(highest=1000), False, NOON + SECOND, Answer.REORDERED),
        (an_order(), a_camera(), False, NOON - 5 * SECOND - INSTANT, Answer.NOT_YET),
        (an_order(), a_camera(), False, NOON - 5 * SECOND, Answer.OBEY),
        (an_order(), a_camera(booted_at=NOON + INSTANT), False, NOON + 2 * SECOND, Answer.BEFORE_BOOT),
        (an_order(), a_camera(booted_at=NOON), False, NOON + 2 * SECOND, Answer.OBEY),
        (an_order(expires_at=NOON + 60 * SECOND), a_camera(), False, NOON + SECOND, Answer.OBEY),
        (an_order(counter=1), a_camera(highest=0), False, NOON + SECOND, Answer.OBEY),
        (an_order(camera=parse_device("cam-02")), a_camera(), False, NOON, Answer.FORGED),
        (an_order(org=parse_org("anderstad")), a_camera(), False, NOON, Answer.FORGED),
        (an_order(key=Ed25519PrivateKey.generate()), a_camera(), False, NOON, Answer.FORGED),
    ],
    ids=lambda value: value.name if isinstance(value, Answer) else "",
)
def test_a_camera_obeys_only_a_fresh_new_order_signed_for_it(
    order: Command, camera: Listener, retained: bool, now: datetime, answer: Answer
) -> None:
    assert judge(order, camera, retained=retained, now=now) is answer


def test_every_answer_but_one_is_no_and_says_why_in_both_languages() -> None:
    assert [answer for answer in Answer if answer.obeys] == [Answer.OBEY]
    assert Answer.EXPIRED.because == "its time is over"
    assert Answer.EXPIRED.waarom == "de geldigheid is voorbij"


@given(
    change=st.sampled_from(
        [
            {"command": UUID(int=8)},
            {"order": "locate"},
            {"counter": 6},
            {"issued_at": NOON + timedelta(microseconds=1)},
            {"expires_at": NOON + timedelta(seconds=31)},
            {"signature": bytes(64)},
            {"signature": b""},
            {"counter": -1},
            {"counter": 1 << 70},
        ]
    )
)
def test_any_changed_field_breaks_the_signature(change: dict[str, Any]) -> None:
    changed = msgspec.structs.replace(an_order(), **change)
    assert judge(changed, a_camera(), retained=False, now=NOON) is Answer.FORGED


def test_an_order_for_longer_than_a_minute_is_refused_even_when_properly_signed() -> None:
    longer = msgspec.structs.replace(an_order(), expires_at=NOON + 60 * SECOND + INSTANT)
    signature = KEY.sign(signed_bytes(longer, org=TOWN, camera=CAMERA))
    longer = msgspec.structs.replace(longer, signature=signature)
    assert judge(longer, a_camera(), retained=False, now=NOON) is Answer.TOO_LONG


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"counter": 0}, "a counter from 1"),
        ({"counter": -1}, "a counter from 1"),
        ({"expires_at": NOON}, "at most"),
        ({"expires_at": NOON - SECOND}, "at most"),
        ({"expires_at": NOON + 60 * SECOND + INSTANT}, "at most"),
    ],
)
def test_an_order_that_no_camera_would_obey_is_not_given(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        an_order(**change)


def test_an_order_survives_the_wire_unchanged() -> None:
    order = an_order()
    again = msgspec.json.decode(msgspec.json.encode(order), type=Command)
    assert judge(again, a_camera(), retained=False, now=NOON) is Answer.OBEY


@pytest.mark.parametrize(("order", "number"), [("start", 1), ("locate", 2)])
def test_the_signed_bytes_are_the_documented_ones(order: Literal["start", "locate"], number: int) -> None:
    wish = msgspec.structs.replace(an_order(), order=order)
    assert signed_bytes(wish, org=TOWN, camera=CAMERA) == b"".join(
        (
            b"vier-ogen/command/v1\0",
            tenant_id(TOWN),
            sha256(b"vier-ogen/command/camera/v1\0cam-01").digest()[:16],
            UUID(int=7).bytes,
            bytes((number,)),
            (5).to_bytes(8),
            (1_780_315_200_000_000).to_bytes(8),
            (1_780_315_230_000_000).to_bytes(8),
            bytes(10),
        )
    )


def test_only_start_and_locate_exist() -> None:
    raw = msgspec.json.encode(an_order())
    for word in ("stop", "erase", "settings"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(raw.replace(b'"start"', f'"{word}"'.encode()), type=Command)

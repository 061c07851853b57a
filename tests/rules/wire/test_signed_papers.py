"""Key lists, certificates, requests: one spelling, one signature, and no changed bit gets through."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.approvals import (
    approval_challenge,
    canonical,
    change_challenge,
    read_request,
    request_challenge,
    sign_in_software,
    split_keys,
)
from broker.wire.certificates import Certificate, read_certificate, sign_certificate
from broker.wire.keylist import Epoch, KeyList, read_keylist, sign_keylist
from broker.wire.recording import Recipient, xwing_from_seed
from broker.wire.refusals import Code, Refused
from tests.rules.kluis.world import heusden

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
WEEK = timedelta(days=7)


def recipient() -> Recipient:
    pair = xwing_from_seed(secrets.token_bytes(32))
    return Recipient(key_id=pair.key_id, public_key=pair.public_key)


def keylist(weeks: int = 2, **changes: Any) -> KeyList:
    usual = KeyList(
        org="heusden",
        epoch=2967,
        recipients=(recipient(),),
        valid_from=MONDAY,
        valid_until=MONDAY + WEEK,
        upcoming=tuple(
            Epoch(
                epoch=2967 + n,
                recipients=(recipient(),),
                valid_from=MONDAY + n * WEEK,
                valid_until=MONDAY + (n + 1) * WEEK,
            )
            for n in range(1, weeks)
        ),
        issued_at=MONDAY,
    )
    return msgspec.structs.replace(usual, **changes)


CERTIFICATE = Certificate(
    org="heusden",
    recording=UUID("0193b5a0-0000-7000-8000-000000000000"),
    state="executed",
    held=True,
    commitment="00" * 32,
    head_sha256="11" * 32,
    rule="retention.days",
    entry_sha256="22" * 32,
    executed_at=MONDAY,
    generation=3,
    final_after=MONDAY + WEEK,
)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (sign_keylist(keylist(), KEY), read_keylist),
        (sign_certificate(CERTIFICATE, KEY), read_certificate),
    ],
)
def test_no_changed_bit_of_a_signed_paper_gets_through(
    raw: bytes, read: Callable[[bytes, Ed25519PublicKey], object]
) -> None:
    assert read(raw, KEY.public_key()) is not None
    step = 1 if len(raw) < 2000 else 7
    for at in range(0, len(raw), step):
        damaged = bytearray(raw)
        damaged[at] ^= 1 << (at % 8)
        with pytest.raises(Refused):
            read(bytes(damaged), KEY.public_key())
    with pytest.raises(Refused):
        read(raw, Ed25519PrivateKey.generate().public_key())
    with pytest.raises(Refused):
        read(raw[:-1], KEY.public_key())


def test_a_key_list_reads_back_and_names_the_weeks_keys() -> None:
    made = keylist(3)
    read = read_keylist(sign_keylist(made, KEY), KEY.public_key())
    assert read == made
    assert read.recipients_at(MONDAY) == made.recipients
    assert read.recipients_at(MONDAY + WEEK) == made.upcoming[0].recipients
    assert read.epoch_at(MONDAY + 2 * WEEK - timedelta(microseconds=1)).epoch == 2968


def test_a_camera_that_outlived_its_list_goes_on_with_the_last_key() -> None:
    made = keylist(3)
    assert made.epoch_at(MONDAY + 99 * WEEK) == made.upcoming[-1]
    assert made.epoch_at(MONDAY - WEEK).epoch == made.epoch


@pytest.mark.parametrize(
    "changes",
    [
        {"recipients": ()},
        {"recipients": (Recipient(key_id=bytes(16), public_key=bytes(10)),)},
        {"valid_until": MONDAY + WEEK - timedelta(seconds=1)},
        {"valid_until": MONDAY},
        {"valid_from": datetime(2026, 11, 16)},  # noqa: DTZ001 - a naive time is what is refused
    ],
)
def test_a_list_that_cannot_be_is_refused_whoever_signed_it(changes: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        read_keylist(sign_keylist(keylist(**changes), KEY), KEY.public_key())
    assert caught.value.refusal.code is Code.MALFORMED


def test_a_request_reads_back_and_its_three_challenges_differ() -> None:
    raw = heusden().request()
    assert canonical(read_request(raw)) == raw
    assert len({request_challenge(raw), approval_challenge(raw), change_challenge(raw)}) == 3
    assert request_challenge(raw) != request_challenge(heusden().request())


def test_released_keys_are_split_by_sequence_with_the_first_segments_key_last() -> None:
    keys = b"".join(bytes([n]) * 32 for n in (4, 5, 6, 0))
    assert split_keys(keys, first=4, last=6) == {4: b"\4" * 32, 5: b"\5" * 32, 6: b"\6" * 32, 0: bytes(32)}
    with pytest.raises(Refused):
        split_keys(keys, first=4, last=7)


def test_only_a_challenge_of_32_bytes_is_signed() -> None:
    with pytest.raises(ValueError):
        sign_in_software("o-1", KEY, b"short")

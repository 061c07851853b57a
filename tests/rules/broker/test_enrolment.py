"""Letters between a new camera and its municipality: only who knows the code can write or change one."""

import hashlib
import hmac
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.wire.enrolment import (
    CODE_LETTERS,
    MAX_LETTER_BYTES,
    Welcome,
    make_renewal,
    make_request,
    new_code,
    read_answer,
    read_renewal,
    read_request,
    tidy_code,
)
from broker.wire.ids import DeviceId, Org, parse_device, parse_org
from broker.wire.refusals import Code, Refused
from edge.certificate import certificate_request

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CSR = certificate_request(ec.generate_private_key(ec.SECP256R1()))
CODE = "7K3M-9QX2-A4TN"
ASKED = make_request(KEY, CSR, code=CODE, salt=bytes(16))
RAW_KEY = KEY.public_key().public_bytes_raw()
WELCOME = Welcome(
    org="dorpstad",
    camera="cam-51",
    oin="0" * 20,
    receipt_key=RAW_KEY,
    kluis_key=RAW_KEY,
    command_key=RAW_KEY,
    keylist=b"{}",
    ca="ca",
    certificate="certificate",
)


@given(st.binary(min_size=8, max_size=8))
def test_a_code_is_three_groups_of_four_that_nobody_misreads(entropy: bytes) -> None:
    code = new_code(entropy)
    assert len(code) == 14
    assert code[4] == code[9] == "-"
    assert set(code) - {"-"} <= set(CODE_LETTERS)
    assert tidy_code(code) == code.replace("-", "")


def test_a_code_is_the_first_sixty_bits_of_its_entropy() -> None:
    assert new_code(bytes.fromhex("0123456789abcdef")) == "04HM-ASW9-NF6Y"
    assert new_code(bytes.fromhex("fffffffffffffff0")) == "ZZZZ-ZZZZ-ZZZZ"
    assert new_code(bytes.fromhex("000000000000000f")) == "0000-0000-0000"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("7k3m 9qx2 a4tn", "7K3M9QX2A4TN"),
        ("o0il-0000-0000", "001100000000"),
        (" 7K3M9QX2A4TN ", "7K3M9QX2A4TN"),
    ],
)
def test_a_code_may_be_typed_as_people_type(typed: str, meant: str) -> None:
    assert tidy_code(typed) == meant


@pytest.mark.parametrize("typed", ["", "7K3M", "7K3M-9QX2-A4TU", "7K3M-9QX2-A4TNX", "éééééééééééé"])
def test_what_cannot_be_a_code_is_said_to_be_none(typed: str) -> None:
    with pytest.raises(Refused) as refused:
        tidy_code(typed)
    assert refused.value.refusal.code is Code.MALFORMED


def test_only_the_shown_code_proves_whose_request_it_is() -> None:
    asked = read_request(ASKED)
    assert asked.is_shown("7k3m9qx2a4tn")
    assert not asked.is_shown("7K3M-9QX2-A4TP")
    assert asked.request.csr == CSR


def test_an_answer_is_believed_with_the_code_and_for_this_request_only() -> None:
    answer = read_request(ASKED).answer(WELCOME, code=CODE)
    assert read_answer(answer, ASKED, code=CODE) == WELCOME
    other = make_request(KEY, CSR, code=CODE, salt=bytes([1] * 16))
    for asked, code in ((ASKED, "7K3M-9QX2-A4TP"), (other, CODE)):
        with pytest.raises(Refused) as refused:
            read_answer(answer, asked, code=code)
        assert refused.value.refusal.code is Code.BAD_SIGNATURE


def test_the_letters_are_proven_as_any_other_maker_would() -> None:
    """With nothing but RFC 2104, 7914 and 8032: what a camera of another make must write, and must check."""
    secret = hashlib.scrypt(b"7K3M9QX2A4TN", salt=bytes(16), n=16384, r=8, p=1, dklen=32)
    asks = bytes(msgspec.json.decode(ASKED, type=dict[str, msgspec.Raw])["request"])
    welcome = bytes(msgspec.json.decode(ANSWER, type=dict[str, msgspec.Raw])["welcome"])
    renewal = bytes(msgspec.json.decode(RENEWAL, type=dict[str, msgspec.Raw])["renewal"])
    for letter, label, body in (
        (ASKED, b"vier-ogen/enrolment/asks/v1\0", asks),
        (ANSWER, b"vier-ogen/enrolment/answers/v1\0" + asks, welcome),
    ):
        proof = hmac.digest(secret, label + hashlib.sha256(body).digest(), "sha256")
        assert b64decode(msgspec.json.decode(letter)["proof"]) == proof
    for letter, label, body in (
        (ASKED, b"vier-ogen/enrolment/asks/v1\0", asks),
        (RENEWAL, b"vier-ogen/enrolment/renews/v1\0", renewal),
    ):
        KEY.public_key().verify(b64decode(msgspec.json.decode(letter)["signature"]), label + body)


ANSWER = read_request(ASKED).answer(WELCOME, code=CODE)
RENEWAL = make_renewal(KEY, CSR, org=parse_org("dorpstad"), camera=parse_device("cam-51"))


def said(letter: bytes, changed: bytes) -> Any:
    """What a reader believes of it, or None."""
    try:
        if letter is ASKED:
            asked = read_request(changed)
            return asked.request if asked.is_shown(CODE) else None
        if letter is ANSWER:
            return read_answer(changed, ASKED, code=CODE)
        renewing = read_renewal(changed)
        renewing.check(KEY.public_key())
        return renewing.renewal
    except Refused:
        return None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_changed_letter_says_anything_else(data: st.DataObject) -> None:
    letter = data.draw(st.sampled_from([ASKED, ANSWER, RENEWAL]))
    changed = bytearray(letter)
    changed[data.draw(st.integers(0, len(letter) - 1))] ^= data.draw(st.integers(1, 255))
    assert said(letter, bytes(changed)) in (None, said(letter, letter))


def test_a_renewal_is_signed_by_the_enrolled_key() -> None:
    renewing = read_renewal(make_renewal(KEY, CSR, org=parse_org("dorpstad"), camera=parse_device("cam-51")))
    renewing.check(KEY.public_key())
    assert renewing.camera == "cam-51"
    with pytest.raises(Refused) as refused:
        renewing.check(Ed25519PrivateKey.generate().public_key())
    assert refused.value.refusal.code is Code.BAD_SIGNATURE


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b"null", b"{" * 5000, bytes(range(100, 200)), b" " * (MAX_LETTER_BYTES + 1)]
)
def test_rubbish_is_refused_in_words(raw: bytes) -> None:
    for read in (read_request, read_renewal):
        with pytest.raises(Refused):
            read(raw)


def test_a_request_with_another_keys_signature_is_refused() -> None:
    forged = msgspec.json.decode(ASKED)
    forged["request"]["public_key"] = msgspec.to_builtins(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    with pytest.raises(Refused) as refused:
        read_request(msgspec.json.encode(forged))
    assert refused.value.refusal.code is Code.BAD_SIGNATURE


LETTERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "request": (ASKED, read_request),
    "answer": (read_request(ASKED).answer(WELCOME, code=CODE), lambda raw: read_answer(raw, ASKED, code=CODE)),
    "renewal": (make_renewal(KEY, CSR, org=parse_org("dorpstad"), camera=parse_device("cam-51")), read_renewal),
}


@pytest.mark.parametrize(("letter", "read"), LETTERS.values(), ids=LETTERS)
def test_a_letter_that_would_be_right_is_refused_when_it_is_one_byte_too_long(
    letter: bytes, read: Callable[[bytes], object]
) -> None:
    read(letter.ljust(MAX_LETTER_BYTES))
    with pytest.raises(Refused) as refused:
        read(letter.ljust(MAX_LETTER_BYTES + 1))
    assert refused.value.refusal.code is Code.TOO_LARGE


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_request_with_another_salt_than_sixteen_bytes_is_none(size: int) -> None:
    with pytest.raises(Refused) as refused:
        read_request(make_request(KEY, CSR, code=CODE, salt=bytes(size)))
    assert refused.value.refusal.code is Code.MALFORMED


@pytest.mark.parametrize("changes", [{"org": "../x"}, {"camera": "CAM 51"}, {"receipt_key": bytes(31)}])
def test_an_answer_with_names_or_keys_that_cannot_be_is_none(changes: dict[str, Any]) -> None:
    answer = read_request(ASKED).answer(msgspec.structs.replace(WELCOME, **changes), code=CODE)
    with pytest.raises(Refused) as refused:
        read_answer(answer, ASKED, code=CODE)
    assert refused.value.refusal.code is Code.MALFORMED


@pytest.mark.parametrize("name", [{"org": Org("../x")}, {"camera": DeviceId("CAM 51")}])
def test_a_renewal_with_names_that_cannot_be_is_none(name: dict[str, Any]) -> None:
    names = {"org": parse_org("dorpstad"), "camera": parse_device("cam-51")} | name
    with pytest.raises(Refused) as refused:
        read_renewal(make_renewal(KEY, CSR, **names))
    assert refused.value.refusal.code is Code.MALFORMED


def test_a_code_is_made_of_eight_fresh_bytes_and_no_others() -> None:
    for size in (0, 7, 9):
        with pytest.raises(ValueError, match="8 bytes of entropy"):
            new_code(bytes(size))

"""Security keys: enrolled once, and checked by two verifiers that must agree."""

import dataclasses
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.wire.refusals import Refused
from broker.wire.statements import Credential, Place, check_statement, sign_count
from cloud.kluis.enrolment import check_again, enrol
from tests.rules.kluis.security_key import ATTESTED, PRESENT, VERIFIED, SecurityKey

PLACE = Place(rp_id="desk.example", origins=("https://desk.example", "https://desk2.example"))
CHALLENGE = bytes(range(32))


def test_a_registration_becomes_a_credential_that_signs() -> None:
    key = SecurityKey(PLACE)
    credential = enrol(key.register(CHALLENGE), challenge=CHALLENGE, place=PLACE)
    assert credential == key.credential
    statement = key.sign("o-1", CHALLENGE)
    assert check_statement(statement, credentials=[credential], challenge=CHALLENGE, place=PLACE) == credential
    assert sign_count(statement) == 1


def test_a_registration_without_the_persons_pin_is_refused() -> None:
    with pytest.raises(Refused):
        enrol(SecurityKey(PLACE).register(CHALLENGE, flags=PRESENT | ATTESTED), challenge=CHALLENGE, place=PLACE)
    with pytest.raises(Refused):
        enrol(SecurityKey(PLACE).register(bytes(32)), challenge=CHALLENGE, place=PLACE)
    with pytest.raises(Refused):
        enrol("{}", challenge=CHALLENGE, place=PLACE)


TRICKS: list[dict[str, Any]] = [
    {},
    {"origin": "https://desk2.example"},
    {"origin": "https://evil.example"},
    {"rp_id": "evil.example"},
    {"flags": PRESENT},
    {"flags": VERIFIED},
    {"flags": PRESENT | VERIFIED | 0x18},
    {"kind": "webauthn.create"},
    {"challenge": bytes(32)},
    {"official": "o-2"},
]


@pytest.mark.parametrize("trick", TRICKS)
def test_both_verifiers_agree(trick: dict[str, Any]) -> None:
    key = SecurityKey(PLACE)
    options = {name: value for name, value in trick.items() if name not in {"challenge", "official"}}
    statement = key.sign("o-1", trick.get("challenge", CHALLENGE), **options)
    assert _accepts_ours(key.credential, statement) == _accepts_theirs(key.credential, statement)


def test_both_verifiers_refuse_every_changed_byte_of_what_was_signed() -> None:
    key = SecurityKey(PLACE)
    statement = key.sign("o-1", CHALLENGE)
    assert _accepts_ours(key.credential, statement)
    assert _accepts_theirs(key.credential, statement)
    response = statement.assertion.index("authenticatorData")
    for at in range(response + 21, response + 60):
        other = "B" if statement.assertion[at] == "A" else "A"
        changed = dataclasses.replace(
            statement, assertion=statement.assertion[:at] + other + statement.assertion[at + 1 :]
        )
        assert not _accepts_ours(key.credential, changed)
        assert not _accepts_theirs(key.credential, changed)


def _accepts_ours(credential: Credential, statement: Any) -> bool:
    try:
        check_statement(statement, credentials=[credential], challenge=CHALLENGE, place=PLACE)
    except Refused:
        return False
    return True


def _accepts_theirs(credential: Credential, statement: Any) -> bool:
    try:
        check_again(statement, credential=credential, challenge=CHALLENGE, place=PLACE, count=0)
    except Refused:
        return False
    return True


def test_a_count_that_does_not_grow_is_a_cloned_key() -> None:
    key = SecurityKey(PLACE)
    first = key.sign("o-1", CHALLENGE)
    assert check_again(first, credential=key.credential, challenge=CHALLENGE, place=PLACE, count=0) == 1
    with pytest.raises(Refused):
        check_again(first, credential=key.credential, challenge=CHALLENGE, place=PLACE, count=1)


def test_a_key_that_keeps_no_count_is_accepted() -> None:
    key = SecurityKey(PLACE)
    statement = key.sign("o-1", CHALLENGE, step=0)
    assert check_again(statement, credential=key.credential, challenge=CHALLENGE, place=PLACE, count=0) == 0


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa", "p384"])
def test_other_algorithms_of_security_keys(algorithm: str) -> None:
    private: Any
    match algorithm:
        case "ed25519":
            private = Ed25519PrivateKey.generate()
        case "rsa":
            private = rsa.generate_private_key(65537, 2048)
        case _:
            private = ec.generate_private_key(ec.SECP384R1())

    class Signing:
        def sign(self, message: bytes, _: Any) -> bytes:
            if algorithm == "ed25519":
                return bytes(private.sign(message))
            if algorithm == "rsa":
                return bytes(private.sign(message, padding.PKCS1v15(), hashes.SHA256()))
            return bytes(private.sign(message, ec.ECDSA(hashes.SHA256())))

    key = SecurityKey(PLACE)
    key.key = Signing()  # type: ignore[assignment]
    statement = key.sign("o-1", CHALLENGE)
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    credential = Credential(id=statement.credential_id, kind="webauthn", public_key=der)
    assert _accepts_ours(credential, statement)
    assert _accepts_theirs(credential, statement) == (algorithm != "p384"), "the curve that no enrolment offers"


def test_without_a_configured_desk_no_assertion_counts() -> None:
    key = SecurityKey(PLACE)
    with pytest.raises(Refused):
        check_statement(key.sign("o-1", CHALLENGE), credentials=[key.credential], challenge=CHALLENGE, place=None)

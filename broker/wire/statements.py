"""A person's signature under one act: by a security key (WebAuthn) or, in demonstrations, by a software key.

Needs nothing but the standard library and `cryptography`, so that the offline verifier checks the same bytes by the
same code as the Kluis. What is signed is always a 32-byte challenge made from the act's own bytes (see approvals.py);
a signature therefore fits one act, one role in it, and nothing else.
"""

import hashlib
import json
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from broker.wire.refusals import Code, Refused, refuse

Kind = Literal["software", "webauthn"]

USER_PRESENT: Final = 0x01
USER_VERIFIED: Final = 0x04
"""Flags of authenticator data, WebAuthn Level 3 section 6.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One person's signature. `software`: 64 raw Ed25519 bytes over the challenge; `webauthn`: the assertion's JSON."""

    official: str
    kind: Kind
    credential_id: str
    signature: bytes = b""
    assertion: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One key that a person holds. `public_key` is DER SubjectPublicKeyInfo; `id` is what the statement names."""

    id: str
    kind: Kind
    public_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where WebAuthn ceremonies may take place: the relying party's id and the exact origins of the desk."""

    rp_id: str
    origins: tuple[str, ...] = field(default=())


def sign_in_software(official: str, key: Ed25519PrivateKey, challenge: bytes) -> Statement:
    """Return the statement a demonstration makes: nothing but the file that holds this key enforces who signed."""
    credential = software_credential(key.public_key())
    return Statement(
        official=official, kind="software", credential_id=credential.id, signature=key.sign(_checked(challenge))
    )


def software_credential(key: Ed25519PublicKey) -> Credential:
    """Return the credential under which a software key is enrolled; its id is the hash of the key."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Credential(id=hashlib.sha256(der).hexdigest()[:32], kind="software", public_key=der)


def check_statement(
    statement: Statement, *, credentials: Sequence[Credential], challenge: bytes, place: Place | None
) -> Credential:
    """Return the credential that signed exactly this challenge; raise Refused (UNKNOWN_IDENTITY, BAD_SIGNATURE).

    `credentials` are those enrolled for the person the statement names. `place` is needed for WebAuthn.
    """
    credential = next(
        (each for each in credentials if each.id == statement.credential_id and each.kind == statement.kind), None
    )
    if credential is None:
        raise refuse(
            Code.UNKNOWN_IDENTITY,
            "statement",
            expected=f"a key enrolled for {statement.official}",
            got=f"{statement.kind} key {statement.credential_id!r}",
        )
    if statement.kind == "software":
        _check_software(statement, credential, _checked(challenge))
    else:
        _check_assertion(statement, credential, _checked(challenge), place)
    return credential


def _checked(challenge: bytes) -> bytes:
    if len(challenge) != 32:
        raise ValueError(f"challenge: expected 32 bytes, got {len(challenge)}")
    return challenge


def _check_software(statement: Statement, credential: Credential, challenge: bytes) -> None:
    key = load_der_public_key(credential.public_key)
    if not isinstance(key, Ed25519PublicKey):
        raise refuse(Code.UNKNOWN_IDENTITY, "statement", expected="an Ed25519 key", got=type(key).__name__)
    try:
        key.verify(statement.signature, challenge)
    except InvalidSignature as cause:
        raise _other_signature(statement) from cause


def _check_assertion(statement: Statement, credential: Credential, challenge: bytes, place: Place | None) -> None:
    """Check in the order of WebAuthn Level 3 section 7.2, steps 11 to 22."""
    if place is None:
        raise refuse(Code.NOT_ALLOWED, "assertion", expected="a relying party that was configured", got="none")
    client_data, authenticator_data, signature = _assertion_parts(statement.assertion)
    client = _client_data(client_data)
    _expect("assertion's type", "webauthn.get", client.get("type"))
    _expect("assertion's challenge", challenge.hex(), _base64url(str(client.get("challenge", ""))).hex())
    if client.get("origin") not in place.origins:
        raise refuse(
            Code.BAD_SIGNATURE, "assertion's origin", expected=" or ".join(place.origins), got=client.get("origin")
        )
    if client.get("crossOrigin", False) is not False:
        raise refuse(Code.BAD_SIGNATURE, "assertion's origin", expected="the desk's own page", got="a page within one")
    if len(authenticator_data) < 37:
        raise refuse(Code.MALFORMED, "authenticator data", expected="at least 37 bytes", got=len(authenticator_data))
    _expect("relying party", hashlib.sha256(place.rp_id.encode()).hexdigest(), authenticator_data[:32].hex())
    flags = authenticator_data[32]
    if not flags & USER_PRESENT or not flags & USER_VERIFIED:
        raise refuse(
            Code.BAD_SIGNATURE, "assertion", expected="a person who was present and verified", got=f"flags {flags:#04x}"
        )
    _check_signature(
        credential, signature, authenticator_data + hashlib.sha256(client_data).digest(), statement=statement
    )


def sign_count(statement: Statement) -> int:
    """Return the authenticator's own counter in a WebAuthn assertion; 0 means that it keeps none (section 6.1.1)."""
    _, authenticator_data, _ = _assertion_parts(statement.assertion)
    return int.from_bytes(authenticator_data[33:37], "big")


def _assertion_parts(assertion: str) -> tuple[bytes, bytes, bytes]:
    try:
        response = json.loads(assertion)["response"]
        parts = [_base64url(response[name]) for name in ("clientDataJSON", "authenticatorData", "signature")]
    except Refused:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise refuse(
            Code.MALFORMED, "assertion", expected="the JSON of a WebAuthn authentication response", got=cause
        ) from cause
    return parts[0], parts[1], parts[2]


def _client_data(raw: bytes) -> dict[str, Any]:
    try:
        client = json.loads(raw)
    except (ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "client data", expected="JSON", got=cause) from cause
    if not isinstance(client, dict):
        raise refuse(Code.MALFORMED, "client data", expected="an object", got=type(client).__name__)
    return client


def _base64url(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, TypeError) as cause:
        raise refuse(Code.MALFORMED, "assertion", expected="base64url", got=cause) from cause


def _expect(what: str, expected: str, got: object) -> None:
    if got != expected:
        raise refuse(Code.BAD_SIGNATURE, what, expected=expected, got=got)


def _check_signature(credential: Credential, signature: bytes, signed: bytes, *, statement: Statement) -> None:
    """Check with the algorithms that enrolment offers: ES256, EdDSA and, for older security keys, RS256."""
    try:
        key = load_der_public_key(credential.public_key)
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, Ed25519PublicKey):
            key.verify(signature, signed)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise refuse(
                Code.UNKNOWN_IDENTITY, "statement", expected="an ES256, EdDSA or RS256 key", got=type(key).__name__
            )
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as cause:
        raise _other_signature(statement) from cause


def _other_signature(statement: Statement) -> Refused:
    return refuse(
        Code.BAD_SIGNATURE,
        "statement",
        expected=f"the signature of {statement.official} under exactly this act",
        got="another",
    )

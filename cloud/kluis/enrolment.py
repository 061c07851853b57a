"""Security keys: from a browser's registration to an enrolled credential, and the second opinion on an assertion.

An assertion is checked twice, by the code that the offline verifier uses (broker/wire/statements.py) and by the
`webauthn` package: a mistake in either one releases nothing.
"""

import json
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from webauthn import verify_authentication_response, verify_registration_response
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    encode_cbor,
)
from webauthn.helpers.exceptions import WebAuthnException

from broker.wire.refusals import Code, refuse
from broker.wire.statements import Credential, Place, Statement


def enrol(registration: str, *, challenge: bytes, place: Place) -> Credential:
    """Return the credential that this registration response (JSON) makes; raise Refused when it does not hold.

    The person must have been verified by the key (PIN or finger): the Kluis accepts nothing less later.
    """
    try:
        verified = verify_registration_response(
            credential=registration,
            expected_challenge=challenge,
            expected_rp_id=place.rp_id,
            expected_origin=list(place.origins),
            require_user_verification=True,
        )
        key = decoded_public_key_to_cryptography(decode_credential_public_key(verified.credential_public_key))
    except (WebAuthnException, ValueError, KeyError) as cause:
        raise refuse(
            Code.BAD_SIGNATURE, "registration", expected="a verified registration of a security key", got=cause
        ) from cause
    return Credential(
        id=bytes_to_base64url(verified.credential_id),
        kind="webauthn",
        public_key=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )


def check_again(statement: Statement, *, credential: Credential, challenge: bytes, place: Place, count: int) -> int:
    """Return the authenticator's new count if the `webauthn` package agrees that this assertion holds.

    `count` is the last one seen; a count that does not grow is a cloned key and is refused (BAD_SIGNATURE).
    """
    try:
        named = base64url_to_bytes(json.loads(statement.assertion)["rawId"])
        verified = verify_authentication_response(
            credential=statement.assertion,
            expected_challenge=challenge,
            expected_rp_id=place.rp_id,
            expected_origin=list(place.origins),
            credential_public_key=_cose(credential.public_key),
            credential_current_sign_count=count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as cause:
        raise refuse(Code.BAD_SIGNATURE, "assertion", expected="one that holds", got=cause) from cause
    if bytes_to_base64url(named) != credential.id or verified.credential_id != named:
        raise refuse(Code.BAD_SIGNATURE, "assertion", expected=f"key {credential.id}", got="another key")
    return verified.new_sign_count


def find_credential(credentials: Sequence[Credential], statement: Statement) -> Credential:
    """Return the credential the statement names; it was found there before."""
    return next(each for each in credentials if each.id == statement.credential_id)


def _cose(der: bytes) -> bytes:
    """Return a DER public key as COSE_Key (RFC 9053 section 7), the form the `webauthn` package reads."""
    key = load_der_public_key(der)
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        numbers = key.public_numbers()
        return encode_cbor({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
    if isinstance(key, Ed25519PublicKey):
        return encode_cbor({1: 1, 3: -8, -1: 6, -2: key.public_bytes_raw()})
    if isinstance(key, rsa.RSAPublicKey):
        public = key.public_numbers()
        modulus = public.n.to_bytes(-(-public.n.bit_length() // 8), "big")
        return encode_cbor({1: 3, 3: -257, -1: modulus, -2: public.e.to_bytes(-(-public.e.bit_length() // 8), "big")})
    raise refuse(Code.UNKNOWN_IDENTITY, "security key", expected="ES256, EdDSA or RS256", got=type(key).__name__)

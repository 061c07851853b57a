"""A security key in software: registrations and assertions as a browser hands them on (WebAuthn Level 3)."""

import hashlib
import json
import secrets
from base64 import urlsafe_b64encode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from webauthn.helpers import encode_cbor

from broker.wire.statements import Credential, Place, Statement

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


class SecurityKey:
    """One P-256 key that counts its uses."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.count = 0
        self.id = secrets.token_bytes(16)
        self.key = ec.generate_private_key(ec.SECP256R1())

    @property
    def credential(self) -> Credential:
        der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Credential(id=base64url(self.id), kind="webauthn", public_key=der)

    def register(self, challenge: bytes, *, flags: int = PRESENT | VERIFIED | ATTESTED) -> str:
        numbers = self.key.public_key().public_numbers()
        cose = encode_cbor({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cose
        data = self._authenticator_data(flags, self.place.rp_id) + attested
        attestation = encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client_data("webauthn.create", challenge, self.place.origins[0])
        response = {"clientDataJSON": base64url(client), "attestationObject": base64url(attestation)}
        return self._response(response)

    def sign(
        self,
        official: str,
        challenge: bytes,
        *,
        origin: str | None = None,
        rp_id: str | None = None,
        flags: int = PRESENT | VERIFIED,
        kind: str = "webauthn.get",
        step: int = 1,
        cross_origin: bool = False,
    ) -> Statement:
        self.count += step
        client = self._client_data(kind, challenge, origin or self.place.origins[0], cross_origin=cross_origin)
        data = self._authenticator_data(flags, rp_id or self.place.rp_id)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": base64url(client),
            "authenticatorData": base64url(data),
            "signature": base64url(signature),
            "userHandle": None,
        }
        return Statement(
            official=official, kind="webauthn", credential_id=base64url(self.id), assertion=self._response(response)
        )

    def _client_data(self, kind: str, challenge: bytes, origin: str, *, cross_origin: bool = False) -> bytes:
        said = {"type": kind, "challenge": base64url(challenge), "origin": origin, "crossOrigin": cross_origin}
        return json.dumps(said, separators=(",", ":")).encode()

    def _authenticator_data(self, flags: int, rp_id: str) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _response(self, response: object) -> str:
        return json.dumps(
            {
                "id": base64url(self.id),
                "rawId": base64url(self.id),
                "type": "public-key",
                "response": response,
                "clientExtensionResults": {},
            }
        )

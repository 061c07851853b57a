"""What a memory card says of itself: whose it is, and which key signs what lies on it.

``card.json`` is canonical JSON (RFC 8785) and an Ed25519 signature over it by the camera's own key. It proves that the
writer held that key; that the key belongs to an enrolled camera is for the receiver to look up.
"""

import binascii
from base64 import b64decode, b64encode
from typing import Final, Literal

import msgspec
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.ids import DeviceId, NotAnIdentifier, Org, parse_device, parse_org
from broker.wire.refusals import Code, refuse

FORMAT: Final = 1
"""Layout of the folders and files on the card; a reader refuses a number it does not know."""

MAX_CARD_BYTES: Final = 4096
"""Longer than any card.json can be; a reader need not read further."""

_LABEL: Final = b"vier-ogen/card/v1\0"


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A camera's card. `public_key` is the camera's raw Ed25519 key, 32 bytes in base64."""

    org: str
    camera: str
    public_key: str
    format: Literal[1] = FORMAT

    @property
    def municipality(self) -> Org:
        """The municipality this camera belongs to."""
        return Org(self.org)

    @property
    def device(self) -> DeviceId:
        """The camera's id."""
        return DeviceId(self.camera)

    @property
    def raw_key(self) -> bytes:
        """The camera's raw public key, 32 bytes."""
        return b64decode(self.public_key, validate=True)

    @property
    def key(self) -> Ed25519PublicKey:
        """The camera's public key, for checking heads, segments and end records."""
        return Ed25519PublicKey.from_public_bytes(self.raw_key)


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    card: msgspec.Raw
    signature: bytes


def _canonical(card: Card) -> bytes:
    return rfc8785.dumps(msgspec.to_builtins(card))


def sign_card(org: Org, camera: DeviceId, key: Ed25519PrivateKey) -> bytes:
    """Return ``card.json`` of this camera."""
    public = b64encode(key.public_key().public_bytes_raw()).decode()
    body = _canonical(Card(org=org, camera=camera, public_key=public))
    return msgspec.json.encode(_Signed(card=msgspec.Raw(body), signature=key.sign(_LABEL + body)))


def read_card(raw: bytes) -> Card:
    """Return the card if the key it names signed exactly it; raise Refused (MALFORMED, TOO_LARGE, BAD_SIGNATURE)."""
    if len(raw) > MAX_CARD_BYTES:
        raise refuse(Code.TOO_LARGE, "card", expected=f"at most {MAX_CARD_BYTES} bytes", got=len(raw))
    try:
        signed = msgspec.json.decode(raw, type=_Signed)
        card = msgspec.json.decode(signed.card, type=Card)
        parse_org(card.org)
        parse_device(card.camera)
        card.key.verify(signed.signature, _LABEL + bytes(signed.card))
    except InvalidSignature as cause:
        raise refuse(Code.BAD_SIGNATURE, "card", expected="the signature of its own key", got="another") from cause
    except (msgspec.DecodeError, NotAnIdentifier, binascii.Error, ValueError) as cause:
        raise refuse(Code.MALFORMED, "card", expected="a signed card of format 1", got=cause) from cause
    if _canonical(card) != bytes(signed.card):
        raise refuse(Code.MALFORMED, "card", expected="canonical JSON", got="another spelling")
    return card

"""What a camera got on the day it was enrolled: who it is, and whose word it believes."""

from base64 import b64decode
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from broker.wire.ids import DeviceId, Org, parse_device, parse_org


class NotEnrolled(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """A folder holds no camera that can be switched on; the message says what is missing."""


class Enrolment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``enrolment.json``. Keys are raw Ed25519 public keys in base64, pinned for the camera's life.

    `receipt_key` signs receipts (on which the camera wipes), `kluis_key` signs key lists (to which it seals),
    `command_key` signs orders. `keylist` is the signed key list as it was that day, or None.
    """

    org: str
    camera: str
    oin: str
    receipt_key: str
    kluis_key: str
    command_key: str
    keylist: str | None = None

    @property
    def municipality(self) -> Org:
        """The municipality this camera belongs to."""
        return parse_org(self.org)

    @property
    def device(self) -> DeviceId:
        """The camera's id."""
        return parse_device(self.camera)


def public_key(text: str) -> Ed25519PublicKey:
    """Return the key that `text` (base64, 32 raw bytes) is; raise ValueError."""
    return Ed25519PublicKey.from_public_bytes(b64decode(text, validate=True))


def read_enrolment(device_folder: Path) -> tuple[Enrolment, Ed25519PrivateKey]:
    """Return a camera's enrolment and its signing key; raise NotEnrolled.

    ``signing.key`` is PEM (PKCS 8), or the 32 raw bytes of the Ed25519 key.
    """
    try:
        enrolment = msgspec.json.decode((device_folder / "enrolment.json").read_bytes(), type=Enrolment)
        key = _signing_key((device_folder / "signing.key").read_bytes())
        for text in (enrolment.receipt_key, enrolment.kluis_key, enrolment.command_key):
            public_key(text)
        enrolment.municipality, enrolment.device  # noqa: B018 - both are parsed here, once
    except (OSError, msgspec.DecodeError, ValueError) as cause:
        raise NotEnrolled(f"{device_folder}: not an enrolled camera ({cause}); enrol it first") from cause
    return enrolment, key


def _signing_key(raw: bytes) -> Ed25519PrivateKey:
    if len(raw) == 32:
        return Ed25519PrivateKey.from_private_bytes(raw)
    key = load_pem_private_key(raw, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(  # noqa: TRY004 - a wrong file, not a wrong argument
            f"signing.key: expected an Ed25519 key, got {type(key).__name__}"
        )
    return key

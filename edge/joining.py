"""A camera that nobody has enrolled yet: makes its keys and a one-time code, asks in a bay, believes who knew the code.

    device/signing.key   Ed25519, signs footage; never leaves the camera
    device/key.pem       P-256, speaks TLS; never leaves the camera
    device/joining.json  the request and its code, gone when the camera has joined
    display.txt          what its display shows: the code and its key, until then
    device/cert.pem ca.pem enrolment.json   what it got; the last one, written last, makes it an enrolled camera

Everything survives a power cut at any moment: what was made is used again, what was not finished is done again.
"""

import secrets
from base64 import b64encode
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.enrolment import (
    ANSWER,
    CODE_ENTROPY_BYTES,
    MAX_LETTER_BYTES,
    REQUEST,
    SALT_BYTES,
    Welcome,
    make_request,
    new_code,
    read_answer,
)
from broker.wire.ids import camera_key_id
from broker.wire.refusals import Refused
from edge import durable
from edge.certificate import NotOurs, certificate_request, check_certificate, read_key
from edge.enrolment import Enrolment

SIGNING_KEY, TLS_KEY, CERTIFICATE, CA = "signing.key", "key.pem", "cert.pem", "ca.pem"
DISPLAY: Final = "display.txt"
_JOINING: Final = "joining.json"
_ENROLMENT: Final = "enrolment.json"


class _Joining(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    request: str


class NewCamera:
    """One camera out of its box. Its methods block on the disk: call them in a thread."""

    def __init__(self, folder: Path) -> None:
        """`folder` gets ``device/`` and ``card/``. Keys and code are made now, or were made before."""
        self._device, self._card, self._display = folder / "device", folder / "card", folder / DISPLAY
        for needed in (self._device, self._card / "to-dock", self._card / "from-dock"):
            durable.make_folder(needed)
        if self.enrolled:
            self._forget_joining()
            return
        joining = self._device / _JOINING
        if not joining.exists():
            durable.replace(joining, msgspec.json.encode(self._ask_anew()))
        self._asks = msgspec.json.decode(joining.read_bytes(), type=_Joining)
        self._show_and_ask()

    @property
    def card(self) -> Path:
        """Its memory card: what is put in a bay."""
        return self._card

    @property
    def enrolled(self) -> bool:
        """Whether this is an enrolled camera: then `edge.device.Device` can be switched on."""
        return (self._device / _ENROLMENT).exists()

    @property
    def code(self) -> str | None:
        """What the display shows; nothing any more once enrolled."""
        return None if self.enrolled else self._asks.code

    def start_again(self) -> None:
        """Ask with a new code, when the old one took too long."""
        if not self.enrolled:
            self._asks = self._ask_anew()
            durable.replace(self._device / _JOINING, msgspec.json.encode(self._asks))
            self._show_and_ask()

    def look(self) -> str | None:
        """See whether an answer came, and join; return why an answer was not believed, or None.

        An answer that is not believed is thrown away, and the camera goes on asking.
        """
        answer = self._card / "from-dock" / ANSWER
        if self.enrolled or not answer.exists():
            return None
        try:
            with answer.open("rb") as file:
                raw = file.read(MAX_LETTER_BYTES + 1)
            welcome = read_answer(raw, self._asks.request.encode(), code=self._asks.code)
            ca = x509.load_pem_x509_certificate(welcome.ca.encode())
            key = read_key(self._device / TLS_KEY)
            check_certificate(welcome.certificate.encode(), key=key, ca=ca, camera=welcome.camera)
        except (Refused, NotOurs, ValueError) as cause:
            answer.unlink()
            return str(cause)
        self._join(welcome)
        return None

    def _join(self, welcome: Welcome) -> None:
        enrolment = Enrolment(
            org=welcome.org,
            camera=welcome.camera,
            oin=welcome.oin,
            receipt_key=_text(welcome.receipt_key),
            kluis_key=_text(welcome.kluis_key),
            command_key=_text(welcome.command_key),
            keylist=welcome.keylist.decode(),
        )
        durable.replace(self._device / CA, welcome.ca.encode())
        durable.replace(self._device / CERTIFICATE, welcome.certificate.encode())
        durable.replace(self._device / _ENROLMENT, msgspec.json.encode(enrolment))
        self._forget_joining()

    def _show_and_ask(self) -> None:
        key = Ed25519PrivateKey.from_private_bytes((self._device / SIGNING_KEY).read_bytes()).public_key()
        fingerprint = camera_key_id(key.public_bytes_raw()).hex()
        durable.replace(self._display, f"{self._asks.code}\n{fingerprint}\n".encode())
        durable.replace(self._card / "to-dock" / REQUEST, self._asks.request.encode())

    def _forget_joining(self) -> None:
        """Take away what only a new camera needs; the code is worth nothing any more, and is gone all the same."""
        for left in (
            self._device / _JOINING,
            self._card / "to-dock" / REQUEST,
            self._card / "from-dock" / ANSWER,
            self._display,
        ):
            left.unlink(missing_ok=True)

    def _ask_anew(self) -> _Joining:
        signing, speaking = self._device / SIGNING_KEY, self._device / TLS_KEY
        if not signing.exists():
            durable.replace(signing, Ed25519PrivateKey.generate().private_bytes_raw())
        if not speaking.exists():
            durable.replace(speaking, _pem(ec.generate_private_key(ec.SECP256R1())))
        code = new_code(secrets.token_bytes(CODE_ENTROPY_BYTES))
        request = make_request(
            Ed25519PrivateKey.from_private_bytes(signing.read_bytes()),
            certificate_request(read_key(speaking)),
            code=code,
            salt=secrets.token_bytes(SALT_BYTES),
        )
        return _Joining(code=code, request=request.decode())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()

"""A camera's certificate: asks for a new one in time, by itself, while it is in a bay; takes over only what is its own.

The key stays: it is made on the camera and never leaves it, and with it the broker's session stays, so that a renewal
loses nothing that waits. Dates are by the machine's own time, as in TLS, never by a demonstration clock.
"""

from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from broker.clock import Clock, system_clock
from broker.identities import renew_at
from broker.wire.enrolment import CERTIFICATE, MAX_LETTER_BYTES, RENEWAL, make_renewal
from broker.wire.ids import DeviceId, Org
from edge import durable

NOBODY: Final = "camera"
"""The name in a request: it is nobody's, the municipality chooses the name."""


class NotOurs(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """A certificate that is not this camera's; says why."""


class OwnCertificate:
    """One camera's certificate. `renew` blocks on the disk: call it in a thread, while docked."""

    def __init__(
        self,
        card: Path,
        *,
        org: Org,
        camera: DeviceId,
        signing_key: Ed25519PrivateKey,
        ca: Path,
        certificate: Path,
        key: Path,
        clock: Clock = system_clock,
    ) -> None:
        self._asks, self._answer = card / "to-dock" / RENEWAL, card / "from-dock" / CERTIFICATE
        self._org, self._camera, self._signing_key = org, camera, signing_key
        self._ca, self._certificate, self._key = ca, certificate, key
        self._clock = clock

    def renew(self) -> str | None:
        """Ask when it is time, take over what came; return why something that came was not taken over, or None."""
        try:
            due = self._clock() >= renew_at(self._certificate)
        except (FileNotFoundError, NotADirectoryError):
            return None  # a camera whose certificate lies elsewhere
        if not due:
            self._asks.unlink(missing_ok=True)
            self._answer.unlink(missing_ok=True)
            return None
        if self._answer.exists():
            return self._take_over()
        if not self._asks.exists():
            durable.make_folder(self._asks.parent)
            csr = certificate_request(read_key(self._key))
            letter = make_renewal(self._signing_key, csr, org=self._org, camera=self._camera)
            durable.replace(self._asks, letter)
        return None

    def _take_over(self) -> str | None:
        try:
            with self._answer.open("rb") as file:
                came = file.read(MAX_LETTER_BYTES)
            ca = x509.load_pem_x509_certificate(self._ca.read_bytes())
            until = check_certificate(came, key=read_key(self._key), ca=ca, camera=self._camera)
            if until <= x509.load_pem_x509_certificate(self._certificate.read_bytes()).not_valid_after_utc:
                raise NotOurs("the new certificate ends no later than the one we have")
        except (NotOurs, ValueError) as cause:
            self._answer.unlink()
            return str(cause)
        durable.replace(self._certificate, came)
        self._asks.unlink(missing_ok=True)
        self._answer.unlink()
        return None


def check_certificate(pem: bytes, *, key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, camera: str) -> datetime:
    """Return until when this certificate is valid, if it is for our key and name, by our authority; raise NotOurs."""
    read = x509.load_pem_x509_certificate(pem)
    try:
        read.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as cause:
        raise NotOurs("the certificate is not of our municipality's authority") from cause
    if _spki(read.public_key()) != _spki(key.public_key()):
        raise NotOurs("the certificate is for another key")
    names = [attribute.value for attribute in read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [camera]:
        raise NotOurs(f"the certificate names {names}, not {camera}")
    return read.not_valid_after_utc


def certificate_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a request (PKCS 10, PEM) for this key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NOBODY)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the camera's TLS key; raise ValueError for another kind."""
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path.name}: expected a P-256 key, got {type(key).__name__}")  # noqa: TRY004 - a wrong file
    return key


def _spki(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return b""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

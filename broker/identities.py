"""Who may speak: one certificate authority per municipality, its identities, enrolment and revocation.

A broker serves one municipality and trusts one authority, so no authority can speak for another's devices. TLS looks at
the machine's own time, never at a demonstration clock.

    folder/ca.crt ca.key          the authority (P-256)
    folder/registry.json          every identity ever issued; broker configurations are generated from it
    folder/crl.pem                revoked certificates (for brokers that read one)
    folder/<id>/cert.pem key.pem  a certificate and its private key (0600), where the key is made here
"""

import fcntl
import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.clock import Clock, system_clock
from broker.durable import replace, sync_folder
from broker.rules.access import Role
from broker.wire.ids import DeviceId, Org, parse_device, parse_org

TRUST_DOMAIN: Final = "vier-ogen"
CA_DAYS: Final = 3650
LEAF_DAYS: Final = 90
"""As in the design; renewed at two thirds."""
CRL_DAYS: Final = 30
"""A broker that reads a CRL refuses everybody when it is too old: write a new one well before."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_PUBLIC: Final = 0o644
_EARLIER: Final = timedelta(minutes=5)
"""Clocks of devices differ: a certificate is valid from a little before its making."""


class IdentityError(Exception):
    """The registry does not allow this: says what and why."""


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One camera, dock or service. `serial` is the newest certificate's, in hexadecimal; `revoked_at` ends it."""

    id: DeviceId
    role: Role
    serial: str
    not_after: datetime
    earlier: tuple[str, ...] = ()
    revoked_at: datetime | None = None


class Registry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All identities of one municipality."""

    org: Org
    identities: dict[str, Identity] = {}

    def current(self) -> tuple[Identity, ...]:
        """Those that may connect, by id."""
        return tuple(found for _, found in sorted(self.identities.items()) if found.revoked_at is None)

    def revoked(self) -> tuple[Identity, ...]:
        """Those that may never connect again, by id."""
        return tuple(found for _, found in sorted(self.identities.items()) if found.revoked_at is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Where the files of one identity lie."""

    ca: Path
    certificate: Path
    key: Path


def uri_of(org: Org, role: Role, device: DeviceId) -> str:
    """Return the URI by which a certificate names its identity: ``spiffe://vier-ogen/<org>/<role>/<id>``."""
    return f"spiffe://{TRUST_DOMAIN}/{org}/{role.value}/{device}"


class Authority:
    """The certificate authority of one municipality. Writes its registry before it hands out a certificate."""

    def __init__(self, folder: Path, *, clock: Clock = system_clock) -> None:
        self.folder = folder
        self._clock = clock
        self._read: tuple[tuple[int, int, int], Registry] | None = None
        self._org = self.registry.org
        self._certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise IdentityError(f"{folder / 'ca.key'}: expected a P-256 key, got {type(key).__name__}")
        self._key = key

    @classmethod
    def create(cls, folder: Path, org: str, *, clock: Clock = system_clock) -> "Authority":
        """Found the authority of a municipality in a folder that has none; raise IdentityError when it has."""
        if (folder / "ca.key").exists():
            raise IdentityError(f"{folder}: there is an authority already; open it, or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        now, key = clock(), ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, parse_org(org)),
                x509.NameAttribute(NameOID.COMMON_NAME, f"Vier Ogen {org}"),
            ]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLIER)
            .not_valid_after(now + timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        replace(folder / "ca.key", _private(key))
        replace(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM), mode=_PUBLIC)
        replace(folder / "registry.json", msgspec.json.encode(Registry(org=parse_org(org))), mode=_PUBLIC)
        authority = cls(folder, clock=clock)
        authority.crl()
        return authority

    @classmethod
    def open(cls, folder: Path, *, clock: Clock = system_clock) -> "Authority":
        """Open an authority that was created."""
        return cls(folder, clock=clock)

    @property
    def org(self) -> Org:
        """The municipality this authority speaks for."""
        return self._org

    @property
    def registry(self) -> Registry:
        """The identities as they are now, also when another process changed them."""
        return self._read_registry()

    @property
    def ca(self) -> Path:
        """The authority's own certificate: what everybody trusts."""
        return self.folder / "ca.crt"

    def credentials(self, device: str) -> Credentials:
        """Return where the files of this identity lie (they need not exist)."""
        own = self.folder / parse_device(device)
        return Credentials(ca=self.ca, certificate=own / "cert.pem", key=own / "key.pem")

    def renewal_due(self, certificate: Path) -> bool:
        """Return whether this certificate should be renewed now."""
        return self._clock() >= renew_at(certificate)

    def is_due(self, certificate: bytes) -> bool:
        """Return whether this certificate (PEM) should be renewed now."""
        return self._clock() >= _two_thirds(x509.load_pem_x509_certificate(certificate))

    def issue(
        self,
        device: str,
        role: Role,
        *,
        server_names: Sequence[str] = (),
        valid_for: timedelta = timedelta(days=LEAF_DAYS),
        valid_from: datetime | None = None,
    ) -> Credentials:
        """Make a key and a certificate for an identity (again: a renewal) and write both; return where they lie.

        With `server_names` the same certificate also answers as a server, under these names and addresses. Raises
        IdentityError for an id that was revoked or that has another role.
        """
        key, files = ec.generate_private_key(ec.SECP256R1()), self.credentials(device)
        with self._alone():
            pem = self._certify(
                parse_device(device),
                role,
                key.public_key(),
                server_names=server_names,
                valid_from=valid_from or self._clock() - _EARLIER,
                valid_for=valid_for,
            )
            files.key.parent.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self.folder)
            replace(files.key, _private(key))
            replace(files.certificate, pem, mode=_PUBLIC)
        return files

    def issue_server(self, device: str, role: Role, *, names: Sequence[str] = LOOPBACK) -> Credentials:
        """Make a key and a certificate for a service that also listens (the broker, the receiver) on these names."""
        return self.issue(device, role, server_names=names)

    def renew_due(self) -> tuple[DeviceId, ...]:
        """Make new keys and certificates for those that lie here and are past two thirds; return whose.

        Connections that stand go on; the next one uses the new certificate. A device that keeps its own key is not
        among them: it sends a request. With a new key the broker keeps a new session, so do this while little waits.
        """
        due: list[DeviceId] = []
        for identity in self.registry.current():
            certificate = self.credentials(identity.id).certificate
            if certificate.exists() and self.credentials(identity.id).key.exists() and self.renewal_due(certificate):
                self.issue(identity.id, identity.role, server_names=sorted(names_in(certificate) - {identity.id}))
                due.append(identity.id)
        return tuple(due)

    def sign_csr(self, device: str, role: Role, csr: bytes) -> bytes:
        """Return a certificate (PEM) for a key that stays on the device. The request says which key, never which name.

        Raises IdentityError when the request does not prove possession of its key, or holds another kind than P-256.
        """
        request = x509.load_pem_x509_csr(csr)
        public = request.public_key()
        if not request.is_signature_valid:
            raise IdentityError(f"{device}: expected a request signed with its own key; make a new one on the device")
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise IdentityError(f"{device}: expected a P-256 key in the request; make a new one on the device")
        with self._alone():
            return self._certify(
                parse_device(device),
                role,
                public,
                server_names=(),
                valid_from=self._clock() - _EARLIER,
                valid_for=timedelta(days=LEAF_DAYS),
            )

    def revoke(self, device: str) -> Identity:
        """End an identity for ever: its id is never issued again. Write the CRL; hand the registry to the broker next.

        For ever, because NATS knows a name and not a serial number: issuing the name again would admit the old
        certificate too. A camera that comes back gets a new id.
        """
        with self._alone():
            known = self.registry.identities.get(parse_device(device))
            if known is None:
                raise IdentityError(f"{device}: no such identity; see {self.folder / 'registry.json'}")
            ended = msgspec.structs.replace(known, revoked_at=known.revoked_at or self._clock())
            self._remember(ended)
            self._write_crl()
        return ended

    def crl(self) -> Path:
        """Write the list of revoked certificates, valid for `CRL_DAYS` from now; return where it lies."""
        with self._alone():
            self._write_crl()
        return self.folder / "crl.pem"

    def _write_crl(self) -> None:
        now = self._clock()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - _EARLIER)
            .next_update(now + timedelta(days=CRL_DAYS))
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
        )
        for identity in self.registry.revoked():
            for serial in (*identity.earlier, identity.serial):
                builder = builder.add_revoked_certificate(
                    x509.RevokedCertificateBuilder()
                    .serial_number(int(serial, 16))
                    .revocation_date(identity.revoked_at or now)
                    .build()
                )
        signed = builder.sign(self._key, hashes.SHA256())
        replace(self.folder / "crl.pem", signed.public_bytes(serialization.Encoding.PEM), mode=_PUBLIC)

    def _certify(
        self,
        device: DeviceId,
        role: Role,
        public: ec.EllipticCurvePublicKey,
        *,
        server_names: Sequence[str],
        valid_from: datetime,
        valid_for: timedelta,
    ) -> bytes:
        """Return a certificate that the registry knows. Raises IdentityError. Call it alone."""
        if device in LOOPBACK:
            raise IdentityError(f"{device}: names this machine, not a device; choose another id")
        known = self.registry.identities.get(device)
        if known is not None and known.revoked_at is not None:
            raise IdentityError(f"{device}: revoked at {known.revoked_at:%Y-%m-%d %H:%M}Z; choose a new id")
        if known is not None and known.role is not role:
            raise IdentityError(f"{device}: is a {known.role.value}, not a {role.value}; choose a new id")
        serial, until = x509.random_serial_number(), valid_from + valid_for
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if server_names else [])]
        names = [
            x509.DNSName(device),
            x509.UniformResourceIdentifier(uri_of(self.org, role, device)),
            *(_general_name(name) for name in server_names),
        ]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)]))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(serial)
            .not_valid_before(valid_from)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        self._remember(
            Identity(
                id=device,
                role=role,
                serial=f"{serial:x}",
                not_after=until,
                earlier=() if known is None else (*known.earlier, known.serial),
            )
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def _remember(self, identity: Identity) -> None:
        """Write the registry before the certificate leaves: what is not in it cannot connect, and can be revoked."""
        changed = Registry(org=self.org, identities={**self.registry.identities, identity.id: identity})
        text = msgspec.json.format(msgspec.json.encode(changed), indent=1)
        replace(self.folder / "registry.json", text, mode=_PUBLIC)

    def _read_registry(self) -> Registry:
        path = self.folder / "registry.json"
        found = path.stat()
        stamp, read = (found.st_ino, found.st_mtime_ns, found.st_size), self._read
        if read is None or read[0] != stamp:
            read = self._read = (stamp, msgspec.json.decode(path.read_bytes(), type=Registry))  # as one: threads read
        return read[1]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold off whoever else changes this folder, in this process or another."""
        with (self.folder / "registry.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def renew_at(certificate: Path) -> datetime:
    """Return when this certificate should be renewed: at two thirds of its life."""
    return _two_thirds(x509.load_pem_x509_certificate(certificate.read_bytes()))


def names_in(certificate: Path) -> frozenset[str]:
    """Return the DNS names and addresses by which a certificate may be reached."""
    read = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return frozenset((*names.get_values_for_type(x509.DNSName), *addresses))


def _two_thirds(read: x509.Certificate) -> datetime:
    return read.not_valid_before_utc + (read.not_valid_after_utc - read.not_valid_before_utc) * 2 / 3


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

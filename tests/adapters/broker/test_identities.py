"""The certificate authority of a municipality, read back with the verifier of a library that is not ours to write."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from broker.identities import LEAF_DAYS, Authority, IdentityError, names_in, renew_at
from broker.rules.access import Role
from broker.wire.ids import NotAnIdentifier

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "pki", "dorpstad", clock=lambda: NOW)


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def a_request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str = "cam-77") -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_certificate_names_its_device_municipality_and_role(authority: Authority) -> None:
    leaf = read(authority.issue("cam-01", Role.CAMERA).certificate)
    assert [name.value for name in leaf.subject] == ["cam-01"]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["cam-01"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://vier-ogen/dorpstad/camera/cam-01"]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=LEAF_DAYS)
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)


def test_another_library_accepts_the_chain_and_only_of_its_own_authority(authority: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", "dorpstad", clock=lambda: NOW)
    leaf = read(authority.issue_server("receiver-1", Role.RECEIVER, names=("localhost", "127.0.0.1")).certificate)
    server = PolicyBuilder().store(Store([read(authority.ca)])).time(NOW)
    server.build_server_verifier(x509.DNSName("localhost")).verify(leaf, [])
    server.build_client_verifier().verify(leaf, [])
    with pytest.raises(VerificationError):
        PolicyBuilder().store(Store([read(other.ca)])).time(NOW).build_client_verifier().verify(leaf, [])
    camera = read(authority.issue("cam-01", Role.CAMERA).certificate)
    with pytest.raises(VerificationError):
        server.build_server_verifier(x509.DNSName("cam-01")).verify(camera, [])


def test_a_certificate_is_renewed_at_two_thirds_of_its_life(authority: Authority) -> None:
    files = authority.issue("cam-01", Role.CAMERA)
    assert renew_at(files.certificate) - NOW == timedelta(days=LEAF_DAYS * 2 / 3) - timedelta(minutes=5)
    assert not authority.renewal_due(files.certificate)
    before = read(files.certificate).serial_number
    authority.issue("cam-01", Role.CAMERA)
    assert read(files.certificate).serial_number != before
    assert authority.registry.identities["cam-01"].earlier == (f"{before:x}",)


def test_only_what_is_due_and_lies_here_is_renewed_with_its_names(tmp_path: Path) -> None:
    day = [NOW]
    authority = Authority.create(tmp_path / "pki", "dorpstad", clock=lambda: day[0])
    authority.issue("cam-01", Role.CAMERA)
    authority.issue_server("svc-receiver", Role.RECEIVER, names=("localhost", "127.0.0.1"))
    authority.sign_csr("cam-05", Role.CAMERA, a_request(ec.generate_private_key(ec.SECP256R1())))
    authority.issue("cam-02", Role.CAMERA)
    authority.revoke("cam-02")
    assert authority.renew_due() == ()
    day[0] = NOW + timedelta(days=61)
    authority.issue("cam-03", Role.CAMERA)
    assert authority.renew_due() == ("cam-01", "svc-receiver")
    receiver = authority.credentials("svc-receiver").certificate
    assert names_in(receiver) == {"svc-receiver", "localhost", "127.0.0.1"}
    assert renew_at(receiver) > day[0]
    assert authority.renew_due() == ()


def test_a_request_proves_its_key_and_chooses_no_name(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = x509.load_pem_x509_certificate(authority.sign_csr("cam-05", Role.CAMERA, a_request(key, "svc-fleet")))
    assert [name.value for name in leaf.subject] == ["cam-05"]
    assert leaf.public_key() == key.public_key()
    assert not authority.credentials("cam-05").key.exists()


def test_a_request_with_another_kind_of_key_or_a_broken_proof_is_refused(authority: Authority) -> None:
    with pytest.raises(IdentityError, match="P-256"):
        authority.sign_csr("cam-05", Role.CAMERA, a_request(rsa.generate_private_key(65537, 2048)))
    with pytest.raises(IdentityError, match="P-256"):
        authority.sign_csr("cam-05", Role.CAMERA, a_request(ec.generate_private_key(ec.SECP384R1())))
    good = a_request(ec.generate_private_key(ec.SECP256R1()))
    der = bytearray(x509.load_pem_x509_csr(good).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(IdentityError, match="its own key"):
        authority.sign_csr("cam-05", Role.CAMERA, broken)
    assert "cam-05" not in authority.registry.identities


def test_a_revoked_id_never_comes_back_and_all_its_certificates_are_listed(authority: Authority) -> None:
    first = read(authority.issue("cam-01", Role.CAMERA).certificate).serial_number
    second = read(authority.issue("cam-01", Role.CAMERA).certificate).serial_number
    authority.issue("cam-02", Role.CAMERA)
    authority.revoke("cam-01")
    crl = x509.load_pem_x509_crl((authority.folder / "crl.pem").read_bytes())
    assert {entry.serial_number for entry in crl} == {first, second}
    key = read(authority.ca).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert crl.is_signature_valid(key)
    assert [identity.id for identity in authority.registry.current()] == ["cam-02"]
    with pytest.raises(IdentityError, match="choose a new id"):
        authority.issue("cam-01", Role.CAMERA)
    with pytest.raises(IdentityError, match="no such identity"):
        authority.revoke("cam-99")


def test_an_identity_keeps_its_role(authority: Authority) -> None:
    authority.issue("cam-01", Role.CAMERA)
    with pytest.raises(IdentityError, match="is a camera, not a fleet"):
        authority.issue("cam-01", Role.FLEET)


@pytest.mark.parametrize("name", ["Jan de Vries", "cam/01", "cam.01", "#", "../ca", "a", ""])
def test_an_id_is_a_plain_word(authority: Authority, name: str) -> None:
    with pytest.raises(NotAnIdentifier):
        authority.issue(name, Role.CAMERA)


def test_an_authority_is_never_founded_twice(authority: Authority) -> None:
    with pytest.raises(IdentityError, match="already"):
        Authority.create(authority.folder, "dorpstad")


def test_two_processes_that_issue_at_once_lose_no_identity(authority: Authority) -> None:
    others = [Authority.open(authority.folder, clock=lambda: NOW) for _ in range(4)]

    def issue(number: int) -> None:
        for part in range(5):
            others[number].issue(f"cam-{number}{part}", Role.CAMERA)

    threads = [threading.Thread(target=issue, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(authority.registry.identities) == 20

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

from broker.identities import Authority, IdentityError, names_in, renew_at
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
    assert leaf.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=90)
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    assert used_for(leaf) == {"digital_signature"}
    assert used_for(read(authority.ca)) == {"key_cert_sign", "crl_sign"}


def used_for(certificate: x509.Certificate) -> set[str]:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    words = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return {word for word in (*words, "key_cert_sign", "crl_sign") if getattr(usage, word)}


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
    due = renew_at(files.certificate)
    assert due == NOW + timedelta(days=60) - timedelta(minutes=5)
    for moment, is_due in ((due - timedelta(microseconds=1), False), (due, True)):
        then = Authority.open(authority.folder, clock=lambda moment=moment: moment)  # type: ignore[misc]
        assert then.renewal_due(files.certificate) is is_due
        assert then.is_due(files.certificate.read_bytes()) is is_due
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
    authority.issue("cam-04", Role.CAMERA, valid_from=NOW)
    authority.credentials("cam-04").key.unlink()  # it keeps its own
    authority.issue("cam-06", Role.CAMERA, valid_from=NOW)
    authority.credentials("cam-06").certificate.unlink()
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
    assert leaf.not_valid_before_utc == NOW - timedelta(minutes=5)
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


def test_the_list_of_the_revoked_is_there_from_the_start_and_a_new_one_is_good_for_a_month(tmp_path: Path) -> None:
    day = [NOW]
    authority = Authority.create(tmp_path / "pki", "dorpstad", clock=lambda: day[0])
    first = x509.load_pem_x509_crl((authority.folder / "crl.pem").read_bytes())
    assert (len(first), first.next_update_utc) == (0, NOW + timedelta(days=30))
    authority.issue("cam-01", Role.CAMERA)
    assert authority.revoke("cam-01").revoked_at == NOW
    day[0] = NOW + timedelta(days=29)
    assert authority.revoke("cam-01").revoked_at == NOW
    second = x509.load_pem_x509_crl(authority.crl().read_bytes())
    assert [entry.revocation_date_utc for entry in second] == [NOW]
    assert second.next_update_utc == NOW + timedelta(days=59)
    numbers = [each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for each in (first, second)]
    assert numbers == sorted(set(numbers))


def test_nobody_is_called_as_this_machine(authority: Authority) -> None:
    with pytest.raises(IdentityError, match="names this machine"):
        authority.issue("localhost", Role.CAMERA)


def test_an_authority_with_another_kind_of_key_is_said_to_be_none(authority: Authority) -> None:
    other = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (authority.folder / "ca.key").write_bytes(other)
    with pytest.raises(IdentityError, match="P-256"):
        Authority.open(authority.folder)


@pytest.mark.parametrize("name", ["Jan de Vries", "cam/01", "cam.01", "#", "../ca", "a", ""])
def test_an_id_is_a_plain_word(authority: Authority, name: str) -> None:
    with pytest.raises(NotAnIdentifier):
        authority.issue(name, Role.CAMERA)


def test_an_authority_is_never_founded_twice(authority: Authority) -> None:
    with pytest.raises(IdentityError, match="already"):
        Authority.create(authority.folder, "dorpstad")


def test_whoever_changes_the_registry_waits_for_who_is_changing_it(authority: Authority) -> None:
    other = Authority.open(authority.folder, clock=lambda: NOW)

    def change() -> None:
        other.issue("cam-02", Role.CAMERA)
        other.revoke("cam-02")

    changing = threading.Thread(target=change)
    with authority._alone():
        changing.start()
        changing.join(timeout=0.3)
        assert changing.is_alive()
        assert authority.registry.identities == {}
    changing.join()
    assert [identity.id for identity in authority.registry.revoked()] == ["cam-02"]

"""A camera joins by the coordinator's word, renews by itself, and leaves for ever."""

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from broker.clock import system_clock
from broker.wire.enrolment import ANSWER, CERTIFICATE, RENEWAL, REQUEST, make_renewal, make_request
from broker.wire.ids import DeviceId, Org
from broker.wire.refusals import Code, Refused
from cloud.casework.office import Denied
from cloud.database import tables
from cloud.rules.enrolment import CODE_LASTS
from edge.certificate import OwnCertificate, certificate_request, read_key
from edge.enrolment import read_enrolment
from edge.joining import NewCamera
from tests.adapters.fleet.conftest import ORG, Town
from tests.adapters.fleet.enrolling import COORDINATOR, Bay, authority_of, carry, long_ago, registrar_of


def unproven(csr: bytes) -> bytes:
    """The same request, of which the signature is one bit off."""
    der = bytearray(x509.load_pem_x509_csr(csr).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)


@pytest.fixture
def bay(town: Town, tmp_path: Path) -> Bay:
    return Bay(tmp_path / "new", registrar_of(town, authority_of(town)))


@pytest.mark.rule("H-33")
async def test_a_new_camera_joins_with_keys_that_never_left_it(town: Town, bay: Bay) -> None:
    joined = await bay.joins("cam-51", team="centrum")

    enrolment, key = read_enrolment(bay.folder / "device")
    assert (enrolment.org, enrolment.camera) == (ORG, "cam-51")
    row = next(row for row in await town.rows(tables.cameras) if row.id == "cam-51")
    assert (row.state, row.team, row.public_key) == ("enrolled", "centrum", key.public_key().public_bytes_raw())
    certificate = x509.load_pem_x509_certificate((bay.folder / "device" / "cert.pem").read_bytes())
    lasts = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lasts == timedelta(days=90)
    assert joined.certificate_until == certificate.not_valid_after_utc
    [entry] = await town.entries("camera.enrolled")
    assert (entry.subject, entry.actor, entry.facts["reason"]) == ("cam-51", COORDINATOR, "extension")
    assert {card.camera for card in town.fleet.cards(ORG)} == {"cam-01", "cam-02", "cam-51"}
    [change] = await town.rows(tables.device_changes)
    assert (change.change, change.reason, change.by) == ("add", "extension", COORDINATOR)
    secret = (bay.folder / "device" / "key.pem").read_bytes()
    pki = [file.read_bytes() for file in (town.folder / "pki").rglob("*") if file.is_file()]
    assert secret not in pki
    assert not list((bay.folder / "card").glob("*-dock/*"))


async def test_until_the_coordinator_says_so_a_camera_only_waits(town: Town, bay: Bay) -> None:
    for _ in range(3):
        await bay.carry()
    assert bay.camera.look() is None
    assert not bay.camera.enrolled
    [waiting] = bay.enrolments.waiting()
    assert waiting.dock == "dock-01"
    assert [event.data["dock"] for event in town.events("newcomer")] == ["dock-01"]
    assert await town.entries("camera.enrolled") == []


@pytest.mark.rule("H-33")
@pytest.mark.parametrize(
    ("changed", "because"),
    [
        ({"by": "o-999"}, "no longer works here"),
        ({"code": "0000-0000-0000"}, "no camera in a bay shows this code"),
        ({"camera": "cam-01"}, "was used before"),
        ({"camera": "svc-fleet"}, "was used before"),
    ],
)
async def test_nobody_joins_on_a_wrong_word_and_it_is_written_down(
    town: Town, bay: Bay, changed: dict[str, str], because: str
) -> None:
    from broker.rules.access import Role

    authority_of(town).issue("svc-fleet", Role.FLEET)
    await bay.carry()
    said = {"code": bay.camera.code, "camera": "cam-51", "by": COORDINATOR, "reason": "extension", **changed}
    with pytest.raises(Denied, match=because):
        await bay.enrolments.confirm(said.pop("code"), **said)  # type: ignore[arg-type]
    await bay.carry()
    assert bay.camera.look() is None
    assert not bay.camera.enrolled
    assert await town.entries("camera.enrolled") == []
    [denial] = await town.rows(tables.denials)
    assert denial.what == "device.add"
    assert because in denial.why


async def test_a_reason_is_one_of_the_protocols(town: Town, bay: Bay) -> None:
    await bay.carry()
    with pytest.raises(Refused, match="replacement"):
        await bay.enrolments.confirm(bay.camera.code or "", camera="cam-51", by=COORDINATOR, reason="fun")  # type: ignore[arg-type]
    assert not (await town.entries("camera.enrolled"))


async def test_a_code_that_was_shown_too_long_is_worth_nothing_and_a_new_one_works(town: Town, bay: Bay) -> None:
    for _ in range(int(CODE_LASTS.total_seconds() // 50) + 1):
        await bay.carry()
        town.clock.forward(50)
    await bay.carry()
    with pytest.raises(Denied, match="too old"):
        await bay.enrolments.confirm(bay.camera.code or "", camera="cam-51", by=COORDINATOR, reason="extension")
    bay.camera.start_again()
    await bay.joins("cam-51")


async def test_a_code_works_once(town: Town, bay: Bay, tmp_path: Path) -> None:
    code = bay.camera.code or ""
    await bay.joins("cam-51")
    assert bay.camera.code is None
    with pytest.raises(Denied, match="known already as cam-51"):
        await bay.enrolments.confirm(code, camera="cam-52", by=COORDINATOR, reason="extension")
    town.clock.forward(61)
    with pytest.raises(Denied, match="no camera in a bay"):
        await bay.enrolments.confirm(code, camera="cam-51", by=COORDINATOR, reason="extension")


async def test_a_cloud_that_died_after_the_word_joins_the_camera_when_it_is_said_again(town: Town, bay: Bay) -> None:
    await bay.carry()
    code = bay.camera.code or ""
    await bay.enrolments.confirm(code, camera="cam-51", by=COORDINATOR, reason="extension")
    bay.enrolments = registrar_of(town, authority_of(town))  # its memory is gone
    await bay.joins("cam-51")
    assert len(await town.entries("camera.enrolled")) == 1


async def test_a_camera_that_lost_power_while_joining_asks_with_the_same_keys_and_code(bay: Bay) -> None:
    again = NewCamera(bay.folder)
    assert again.code == bay.camera.code
    asked = (bay.folder / "card" / "to-dock" / REQUEST).read_bytes()
    bay.camera = again
    await bay.joins("cam-51")
    assert asked
    assert NewCamera(bay.folder).enrolled


async def test_an_answer_by_somebody_who_does_not_know_the_code_is_not_believed(bay: Bay, town: Town) -> None:
    """A dock that was taken over puts its own keys into the answer."""
    await bay.carry()
    await bay.enrolments.confirm(bay.camera.code or "", camera="cam-51", by=COORDINATOR, reason="extension")
    await bay.carry()
    answer = bay.folder / "card" / "from-dock" / ANSWER
    forged = msgspec.json.decode(answer.read_bytes())
    forged["welcome"]["kluis_key"] = forged["welcome"]["command_key"]
    answer.write_bytes(msgspec.json.encode(forged))
    why = bay.camera.look()
    assert why is not None
    assert "who was told our code" in why
    assert not bay.camera.enrolled
    await bay.carry()
    assert bay.camera.look() is None
    assert bay.camera.enrolled


async def test_what_a_dock_swaps_in_the_request_is_not_what_the_code_names(bay: Bay, tmp_path: Path) -> None:
    other = NewCamera(tmp_path / "attacker")
    request = (tmp_path / "attacker" / "card" / "to-dock" / REQUEST).read_bytes()
    await bay.enrolments.ask(request, dock=DeviceId("dock-01"))
    with pytest.raises(Denied, match="no camera in a bay shows this code"):
        await bay.enrolments.confirm(bay.camera.code or "", camera="cam-51", by=COORDINATOR, reason="extension")
    assert other.code != bay.camera.code


async def test_the_code_must_be_of_the_camera_that_the_coordinator_chose(town: Town, bay: Bay, tmp_path: Path) -> None:
    other = Bay(tmp_path / "other", bay.enrolments)
    await bay.carry()
    [first] = bay.enrolments.waiting()
    town.clock.forward(1)
    await other.carry()
    _, second = bay.enrolments.waiting()
    with pytest.raises(Denied, match="no camera in a bay shows this code"):
        await bay.joins("cam-51", key=second.key)
    await bay.joins("cam-51", key=first.key)
    assert bay.enrolments.waiting() == (second,)


async def test_no_more_cameras_wait_than_fit_in_the_bays(
    bay: Bay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.fleet.enrolment.MOST_WAITING", 1)
    other = Bay(tmp_path / "other", bay.enrolments)
    for _ in range(2):
        await bay.carry()
    with pytest.raises(Refused) as refused:
        await bay.enrolments.ask((other.folder / "card" / "to-dock" / REQUEST).read_bytes(), dock=DeviceId("dock-01"))
    assert refused.value.refusal.code is Code.TOO_MANY


@pytest.mark.parametrize(
    ("csr", "code"),
    [
        (b"rubbish", Code.MALFORMED),
        (certificate_request(ec.generate_private_key(ec.SECP384R1())), Code.MALFORMED),
        (unproven(certificate_request(ec.generate_private_key(ec.SECP256R1()))), Code.BAD_SIGNATURE),
    ],
)
async def test_what_the_authority_would_not_sign_is_refused_at_the_door(bay: Bay, csr: bytes, code: Code) -> None:
    letter = make_request(Ed25519PrivateKey.generate(), csr, code=bay.camera.code or "", salt=bytes(16))
    with pytest.raises(Refused) as refused:
        await bay.enrolments.ask(letter, dock=DeviceId("dock-01"))
    assert refused.value.refusal.code is code
    assert bay.enrolments.waiting() == ()


async def test_without_a_ledger_nobody_joins_or_leaves(
    town: Town, bay: Bay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloud.ledger.log import LedgerUnwritable

    async def full(*_: object, **__: object) -> None:
        raise LedgerUnwritable(tmp_path, OSError("no room"))

    await bay.joins("cam-51")
    monkeypatch.setattr(town.ledger, "append", full)
    with pytest.raises(Refused) as refused:
        await bay.enrolments.leave("cam-51", by=COORDINATOR, reason="loss")
    assert refused.value.refusal.code is Code.LEDGER_UNWRITABLE
    assert "cam-51" in {identity.id for identity in authority_of(town).registry.current()}
    assert {row.state for row in await town.rows(tables.cameras)} == {"enrolled"}


# --- renewing ---------------------------------------------------------------------------------------------------------


def own_certificate(bay: Bay, **rest: object) -> OwnCertificate:
    enrolment, key = read_enrolment(bay.folder / "device")
    device = bay.folder / "device"
    return OwnCertificate(
        bay.folder / "card",
        org=enrolment.municipality,
        camera=enrolment.device,
        signing_key=key,
        ca=device / "ca.pem",
        certificate=device / "cert.pem",
        key=device / "key.pem",
        **rest,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("age_days", "renews"), [(59, False), (60, True), (89, True)])
async def test_a_docked_camera_renews_at_two_thirds_by_itself(
    town: Town, tmp_path: Path, age_days: int, renews: bool
) -> None:
    bay = Bay(tmp_path / "new", registrar_of(town, authority_of(town, clock=long_ago(age_days))))
    await bay.joins("cam-51")
    before, key = (bay.folder / "device" / "cert.pem").read_bytes(), (bay.folder / "device" / "key.pem").read_bytes()
    bay.enrolments = registrar_of(town, authority_of(town))
    own = own_certificate(bay)

    assert own.renew() is None
    assert (bay.folder / "card" / "to-dock" / RENEWAL).exists() is renews
    await bay.carry()
    assert own.renew() is None

    after = (bay.folder / "device" / "cert.pem").read_bytes()
    assert (after != before) is renews
    assert (bay.folder / "device" / "key.pem").read_bytes() == key
    if renews:
        read = x509.load_pem_x509_certificate(after)
        assert read.not_valid_after_utc > system_clock() + timedelta(days=89)
    assert own.renew() is None
    assert not list((bay.folder / "card").glob("*-dock/*"))


async def test_a_renewal_whose_answer_was_lost_gets_the_same_answer(town: Town, tmp_path: Path) -> None:
    bay = Bay(tmp_path / "new", registrar_of(town, authority_of(town, clock=long_ago(70))))
    await bay.joins("cam-51")
    bay.enrolments = registrar_of(town, authority_of(town))
    own_certificate(bay).renew()
    await bay.carry()
    answer = bay.folder / "card" / "from-dock" / CERTIFICATE
    first = answer.read_bytes()
    answer.unlink()
    await bay.carry()
    assert answer.read_bytes() == first
    assert len(authority_of(town).registry.identities["cam-51"].earlier) == 1


async def test_a_certificate_that_is_not_its_own_is_not_taken_over(town: Town, tmp_path: Path) -> None:
    bay = Bay(tmp_path / "new", registrar_of(town, authority_of(town, clock=long_ago(70))))
    await bay.joins("cam-51")
    authority = authority_of(town)
    from broker.rules.access import Role

    before = (bay.folder / "device" / "cert.pem").read_bytes()
    others = authority.issue("cam-52", Role.CAMERA).certificate.read_bytes()
    mine = read_key(bay.folder / "device" / "key.pem")
    misnamed = authority.sign_csr("cam-53", Role.CAMERA, certificate_request(mine))
    for wrong, because in ((others, "another key"), (misnamed, "names"), (b"rubbish", ""), (before, "no later")):
        own_certificate(bay).renew()
        (bay.folder / "card" / "from-dock" / CERTIFICATE).write_bytes(wrong)
        why = own_certificate(bay).renew()
        assert why is not None
        assert because in why
        assert (bay.folder / "device" / "cert.pem").read_bytes() == before


async def test_only_an_enrolled_camera_with_its_own_signature_is_renewed(town: Town, bay: Bay) -> None:
    await bay.joins("cam-51")
    enrolment, key = read_enrolment(bay.folder / "device")
    csr = certificate_request(read_key(bay.folder / "device" / "key.pem"))
    forged = make_renewal(Ed25519PrivateKey.generate(), csr, org=ORG, camera=enrolment.device)
    unknown = make_renewal(key, csr, org=ORG, camera=DeviceId("cam-77"))
    elsewhere = make_renewal(key, csr, org=Org("anderstad"), camera=enrolment.device)
    for letter, code in (
        (forged, Code.BAD_SIGNATURE),
        (unknown, Code.UNKNOWN_IDENTITY),
        (elsewhere, Code.WRONG_TENANT),
    ):
        with pytest.raises(Refused) as refused:
            await bay.enrolments.renew(letter, dock=DeviceId("dock-01"))
        assert refused.value.refusal.code is code
    await bay.enrolments.leave("cam-51", by=COORDINATOR, reason="loss")
    with pytest.raises(Refused) as refused:
        await bay.enrolments.renew(make_renewal(key, csr, org=ORG, camera=enrolment.device), dock=DeviceId("dock-01"))
    assert refused.value.refusal.code is Code.UNKNOWN_IDENTITY


# --- leaving ----------------------------------------------------------------------------------------------------------


@pytest.mark.rule("H-33")
async def test_a_lost_camera_is_out_of_ledger_register_registry_and_fleet_and_its_name_is_gone(
    town: Town, bay: Bay, tmp_path: Path
) -> None:
    left: list[str] = []
    await bay.joins("cam-51")
    desk = registrar_of(town, authority_of(town), on_leave=left.append)
    await desk.leave("cam-51", by=COORDINATOR, reason="loss")

    [entry] = await town.entries("camera.revoked")
    assert (entry.subject, entry.actor, entry.facts) == ("cam-51", COORDINATOR, {"reason": "loss"})
    row = next(row for row in await town.rows(tables.cameras) if row.id == "cam-51")
    assert (row.state, row.reason) == ("lost", "loss")
    assert "cam-51" in {identity.id for identity in authority_of(town).registry.revoked()}
    assert "cam-51" not in {card.camera for card in town.fleet.cards(ORG)}
    assert left == ["cam-51"]
    other = Bay(tmp_path / "other", desk)
    await other.carry()
    with pytest.raises(Denied, match="gets a new name"):
        await desk.confirm(other.camera.code or "", camera="cam-51", by=COORDINATOR, reason="replacement")
    await other.joins("cam-52", reason="replacement")


@pytest.mark.rule("H-33")
async def test_only_the_coordinator_takes_a_camera_out(town: Town, bay: Bay) -> None:
    await bay.joins("cam-51")
    with pytest.raises(Denied):
        await bay.enrolments.leave("cam-51", by="o-999", reason="loss")
    with pytest.raises(Refused):
        await bay.enrolments.leave("cam-51", by=COORDINATOR, reason="whim")  # type: ignore[arg-type]
    assert await town.entries("camera.revoked") == []


async def test_a_camera_leaves_once(town: Town, bay: Bay) -> None:
    await bay.joins("cam-51")
    await bay.enrolments.leave("cam-51", by=COORDINATOR, reason="loss")
    with pytest.raises(Refused) as refused:
        await bay.enrolments.leave("cam-51", by=COORDINATOR, reason="loss")
    assert refused.value.refusal.code is Code.CONFLICT
    assert len(await town.entries("camera.revoked")) == 1


async def test_what_a_crash_left_of_a_leaving_is_done_at_the_next_start(town: Town, bay: Bay) -> None:
    await bay.joins("cam-51")
    await bay.enrolments.remove_camera(ORG, "cam-51", by=COORDINATOR, reason="loss")  # and then the lights went out
    assert await registrar_of(town, authority_of(town)).finish() == ("cam-51",)
    assert "cam-51" in {identity.id for identity in authority_of(town).registry.revoked()}
    assert await registrar_of(town, authority_of(town)).finish() == ()


async def test_a_dock_carries_no_link_no_device_and_no_endless_letter(town: Town, bay: Bay, tmp_path: Path) -> None:
    letter = bay.folder / "card" / "to-dock" / REQUEST
    asked = letter.read_bytes()
    secret = tmp_path / "secret"
    secret.write_bytes(asked)
    for spoil in (lambda: letter.symlink_to(secret), lambda: letter.write_bytes(b" " * 100_000), letter.mkdir):
        letter.unlink()
        spoil()
        await carry(bay.bays, bay.enrolments)
        assert bay.enrolments.waiting() == ()
        if letter.is_dir():
            letter.rmdir()
            letter.write_bytes(asked)
    await asyncio.sleep(0)
    await bay.carry()
    assert len(bay.enrolments.waiting()) == 1

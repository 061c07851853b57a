"""Cameras and docks that come and go: what waits in a bay, who joins under which name, and what leaves for ever."""

import asyncio
import secrets
from typing import Annotated, Final, Literal

import msgspec

from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Created, Given, Instant, Listed, Name, Shown, operation
from cloud.api.paging import Paged, cut_by_name
from cloud.api.resources.administration import ADMINISTRATION, SEES, office_of
from cloud.api.resources.fleet import CameraPath
from cloud.casework.devices import ChangeReason
from cloud.desk.administration import ADMINISTRATION as OFFICE
from cloud.desk.pages.administration import Device, camera_rows, displays, dock_rows, may_of
from cloud.desk.town import deny, words_of

Team = Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=r"^[^\x00]*$")]
ShownCode = Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=r"^[^\x00]*$")]
CertificateRequest = Annotated[str, msgspec.Meta(min_length=1, max_length=8000, pattern=r"^[^\x00]*$")]
"""A certificate request (PKCS 10) in PEM."""


class NewcomerShown(Shown):
    """A camera that waits in a bay. `code`: what it shows, where it is simulated; in earnest one looks at it."""

    key: str
    dock: str
    since: Instant
    code: str | None


class NewcomersShown(Shown):
    """Every camera that waits, those that came first in front."""

    items: tuple[NewcomerShown, ...]


class EnrolledShown(Shown):
    """A camera that may speak from now on."""

    id: str
    key: str
    certificate_until_at: Instant


class DeviceShown(Shown):
    """A camera or a dock as the register has it, also after it left. `kind`: camera or dock."""

    id: str
    kind: Literal["camera", "dock"]
    state: str
    team: str | None
    station: str | None
    officer_name: str | None
    certificate_until_at: Instant | None
    last_seen_at: Instant | None
    since: Instant | None


class DevicesShown(Shown):
    """A page of the register, by name."""

    items: tuple[DeviceShown, ...]


class CertifiedShown(Shown):
    """The certificate (PEM) for the key that is at the station."""

    dock: str
    certificate: str


class DockPath(Given):
    """Which dock."""

    dock: Name


class DevicePath(Given):
    """Which camera or dock."""

    device: Name


class EnrolGiven(Given):
    """Which camera joins: the one with this key that shows this code, under which name, why, and for which team."""

    code: ShownCode
    camera: Name
    reason: ChangeReason
    key: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{1,64}$")] | None = None
    team: Team | None = None


class AssignGiven(Given):
    """For which team a camera is and who wears it; null: nobody."""

    team: Team | None
    officer: Name | None


class LeaveGiven(Given):
    """Why it goes."""

    reason: ChangeReason


class DockGiven(Given):
    """A new station: its name, where it stands, and what its own key asks."""

    dock: Name
    station: Team
    certificate_request: CertificateRequest


class CertificateGiven(Given):
    """What the station's own key asks."""

    certificate_request: CertificateRequest


@operation("GET", "/apparaten", "Alle camera's en docks die ooit zijn ingeschreven", group=ADMINISTRATION, roles=SEES,
           paged=True, gives=DevicesShown)  # fmt: skip
async def devices(call: Call, query: Paged) -> Listed:
    """Return every camera and dock by name, with when its certificate ends; also those that left."""
    found, following = cut_by_name(await _register(call), query, lambda each: each.id)
    return Listed(DevicesShown(items=tuple(found)), following)


@operation("GET", "/apparaten/{apparaat}", "Eén camera of dock uit het register", group=ADMINISTRATION, roles=SEES)
async def device(call: Call, path: DevicePath) -> DeviceShown:
    """Return one camera or dock of the register."""
    found = next((each for each in await _register(call) if each.id == path.device), None)
    if found is None:
        raise refuse(Code.NOT_FOUND, "device", expected="one of the register", got=path.device)
    return found


@operation("GET", "/nieuwe-cameras", "Camera's die in een dock wachten", group=ADMINISTRATION, roles=SEES)
async def newcomers(call: Call) -> NewcomersShown:
    """Return the cameras that show a code and wait for the coordinator."""
    await _may_look(call)
    codes = {key: code for code, key in await asyncio.to_thread(displays, call.town)}
    return NewcomersShown(
        items=tuple(
            NewcomerShown(key=each.key, dock=each.dock, since=each.since, code=codes.get(each.key))
            for each in office_of(call).enrolments.waiting()
        )
    )


@operation("POST", "/nieuwe-cameras", "Pak een camera uit (alleen demonstratie)", group=ADMINISTRATION, roles=SEES)
async def unpack_camera(call: Call) -> None:
    """Take a simulated camera out of its box and put it in a bay. Only a demonstration has such boxes."""
    demo = call.town.demo
    if demo is None or demo.cameras is None:
        await deny(call.request, "button", "Dit is geen demonstratie.")
        return
    await asyncio.to_thread((demo.cameras / f"new-{secrets.token_hex(3)}").mkdir)


@operation("POST", "/cameras", "Een camera inschrijven", group=ADMINISTRATION, roles=SEES, created=True,
           gives=EnrolledShown, refuses=(Code.CONFLICT,))  # fmt: skip
async def enrol_camera(call: Call, body: EnrolGiven) -> Created:
    """Let the camera that shows this code join under this name; by whom the policy says."""
    office = office_of(call)
    joined = await office.enrolments.confirm(
        body.code, camera=body.camera, by=call.me.id, reason=body.reason, key=body.key
    )
    if body.team is not None:
        await office.wearing.assign_team(call.org, joined.camera, by=call.me.id, team=body.team)
    return Created(
        EnrolledShown(id=joined.camera, key=joined.key, certificate_until_at=joined.certificate_until),
        f"/cameras/{joined.camera}",
    )


@operation("PUT", "/cameras/{camera}/indeling", "Een camera indelen", group=ADMINISTRATION, roles=SEES)
async def assign_camera(call: Call, path: CameraPath, body: AssignGiven) -> None:
    """Give a camera to a team and to somebody who wears it, from now on. What stays the same is not done again."""
    office, card = office_of(call), call.town.fleet.card(call.org, path.camera)
    if card is None or body.team != card.team:
        await office.wearing.assign_team(call.org, path.camera, by=call.me.id, team=body.team)
    if card is None or body.officer != card.officer:
        await office.wearing.assign_wearer(call.org, path.camera, by=call.me.id, official=body.officer)
    await call.town.fleet.refresh(call.org)


@operation("POST", "/cameras/{camera}/intrekkingen", "Een camera uitschrijven", group=ADMINISTRATION, roles=SEES)
async def revoke_camera(call: Call, path: CameraPath, body: LeaveGiven) -> None:
    """Put a camera out for ever: lost (`loss`), replaced or no longer needed. Its name is never used again."""
    await office_of(call).enrolments.leave(path.camera, by=call.me.id, reason=body.reason)


@operation("POST", "/dockingstations", "Een dock inschrijven", group=ADMINISTRATION, roles=SEES, created=True,
           gives=CertifiedShown)  # fmt: skip
async def enrol_dock(call: Call, body: DockGiven) -> Created:
    """Let a station in; the answer is the certificate for the key that is there."""
    pem = await office_of(call).docks.add(
        body.dock, station=body.station, csr=body.certificate_request.encode(), by=call.me.id
    )
    return Created(CertifiedShown(dock=body.dock, certificate=pem.decode()), f"/apparaten/{body.dock}")


@operation("POST", "/dockingstations/{dockingstation}/certificaten", "Een dock een nieuw certificaat geven",
           group=ADMINISTRATION, roles=SEES)  # fmt: skip
async def certify_dock(call: Call, path: DockPath, body: CertificateGiven) -> CertifiedShown:
    """Give a station a new certificate: its old one ends, or never reached it."""
    pem = await office_of(call).docks.certify(path.dock, csr=body.certificate_request.encode(), by=call.me.id)
    return CertifiedShown(dock=path.dock, certificate=pem.decode())


@operation("POST", "/dockingstations/{dockingstation}/intrekkingen", "Een dock uitschrijven", group=ADMINISTRATION,
           roles=SEES)  # fmt: skip
async def revoke_dock(call: Call, path: DockPath, body: LeaveGiven) -> None:
    """Put a station out for ever. Its name is never used again."""
    await office_of(call).docks.remove(path.dock, by=call.me.id, reason=body.reason)


async def _may_look(call: Call) -> None:
    if not (await may_of(call.request)).sees_devices:
        await deny(call.request, "beheer", "Uw functie geeft geen toegang tot dit deel van het beheer.")


async def _register(call: Call) -> list[DeviceShown]:
    await _may_look(call)
    office, words = call.request.config_dict.get(OFFICE), words_of(call.request)
    cameras = [_shown(each, "camera") for each in await camera_rows(call.town, office, words)]
    docks = [_shown(each, "dock") for each in await dock_rows(call.town, office, words)]
    return sorted(cameras + docks, key=lambda each: each.id)


def _shown(each: Device, kind: Literal["camera", "dock"]) -> DeviceShown:
    return DeviceShown(
        id=each.id,
        kind=kind,
        state=each.standing,
        team=each.place if kind == "camera" else None,
        station=each.place if kind == "dock" else None,
        officer_name=each.wearer,
        certificate_until_at=each.certificate_until,
        last_seen_at=each.seen_at,
        since=each.since,
    )


OPERATIONS: Final = (
    devices,
    device,
    newcomers,
    unpack_camera,
    enrol_camera,
    assign_camera,
    revoke_camera,
    enrol_dock,
    certify_dock,
    revoke_dock,
)

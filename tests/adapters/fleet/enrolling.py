"""What tests of joining, renewing and leaving share: the registrar's desk, and a dock that carries letters by hand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from broker.identities import Authority
from broker.rules.access import Role
from broker.wire.refusals import Refused
from cloud.fleet.enrolment import Enrolments, Trust
from dock_agent.letters import Letters
from dock_agent.uploader import SaidNo
from edge.joining import NewCamera
from tests.adapters.fleet.conftest import OIN, ORG, Town

COORDINATOR = "o-101"
DOCK = "dock-01"
A_KEY = bytes(range(32))


def authority_of(town: Town, **clock: Any) -> Authority:
    folder = town.folder / "pki"
    return Authority.open(folder, **clock) if (folder / "ca.key").exists() else Authority.create(folder, ORG, **clock)


def long_ago(days: float) -> Any:
    return lambda: datetime.now(UTC) - timedelta(days=days)


async def trust() -> Trust:
    keylist = b'{"keylist":{},"signature":""}'
    return Trust(oin=OIN, receipt_key=_public(1), kluis_key=_public(2), command_key=_public(3), keylist=keylist)


def registrar_of(town: Town, authority: Authority, **rest: Any) -> Enrolments:
    parts: dict[str, Any] = {"fleet": town.fleet, **rest}
    return Enrolments(
        town.database,
        town.ledger,
        town.policies,
        town.clock,
        town.hub,
        org=ORG,
        authority=authority,
        trust=trust,
        **parts,
    )


def _public(seed: int) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw()


class ByHand:
    """A carrier that walks to the registrar instead of using a line."""

    def __init__(self, enrolments: Enrolments) -> None:
        self.enrolments = enrolments

    async def carry(self, path: str, letter: bytes) -> bytes:
        try:
            if path == "/v1/enrolments":
                return await self.enrolments.ask(letter, dock=DOCK) or b""  # type: ignore[arg-type]
            return await self.enrolments.renew(letter, dock=DOCK)  # type: ignore[arg-type]
        except Refused as refused:
            raise SaidNo(refused.refusal.code, str(refused), retry_after_s=None) from refused


class Bay:
    """A new camera in a bay. `carry` is one round of the dock."""

    def __init__(self, folder: Path, enrolments: Enrolments) -> None:
        self.camera = NewCamera(folder / "camera")
        self.folder = folder / "camera"
        self.bays = folder / "bays"
        self.bays.mkdir()
        (self.bays / "01").symlink_to(self.folder / "card")
        self.enrolments = enrolments

    async def carry(self) -> None:
        await carry(self.bays, self.enrolments)

    async def joins(self, name: str, **rest: Any) -> Any:
        """The whole way: ask, confirm, answer."""
        await self.carry()
        assert self.camera.code is not None
        said = {"by": COORDINATOR, "reason": "extension", **rest}
        joined = await self.enrolments.confirm(self.camera.code, camera=name, **said)
        await self.carry()
        assert self.camera.look() is None
        assert self.camera.enrolled
        return joined


async def carry(bays: Path, enrolments: Enrolments) -> None:
    """One round of a dock through its bays."""
    letters = Letters(bays, ByHand(enrolments))
    from dock_agent.letters import ERRANDS

    for bay in sorted(bays.iterdir()):
        for errand in ERRANDS:
            await letters._run_errand(bay, errand)


def issue(authority: Authority, *cameras: str) -> None:
    for service, role in (
        ("svc-fleet", Role.FLEET),
        ("svc-registrar", Role.REGISTRAR),
        ("svc-command", Role.COMMAND),
        ("svc-watcher", Role.OBSERVER),
    ):
        authority.issue(service, role)
    for camera in cameras:
        authority.issue(camera, Role.CAMERA)

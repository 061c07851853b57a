"""Cameras that come and go. By the coordinator, and nobody else; always with a reason."""

from typing import Final, Literal

from sqlalchemy import insert, select, update

from broker.wire.ids import Org, camera_key_id, parse_device
from broker.wire.policy import Act
from broker.wire.refusals import Code, refuse
from cloud.casework.office import Office
from cloud.database.tables import cameras, device_changes
from cloud.rules.rights import judge_back_office

ChangeReason = Literal["replacement", "extension", "loss", "surplus"]
REASONS: Final = ("replacement", "extension", "loss", "surplus")
"""Why a camera is added or removed."""


class Devices(Office):
    """The register of cameras."""

    async def add_camera(
        self, org: Org | str, camera: str, *, by: str, public_key: bytes, reason: ChangeReason, team: str | None = None
    ) -> None:
        """Enrol a camera by its raw 32-byte public key. A camera that was removed does not come back under its name."""
        policy, now = await self._policy(org), self.clock()
        name = parse_device(camera)
        verdict = judge_back_office(policy, await self.person(org, by, now), Act.DEVICE_ADD)
        await self._check(org, verdict, who=by, what="device.add")
        _check_reason(reason)
        await self._write_ahead(
            org, "camera.enrolled", subject=name, actor=by,
            facts={"reason": reason, "public_key": public_key.hex(), "key_id": camera_key_id(public_key).hex()},
        )  # fmt: skip
        async with self.database.transaction() as t:
            there = select(cameras.c.state).where(cameras.c.org == org, cameras.c.id == name)
            state = (await t.execute(there)).scalar_one_or_none()
            if state is not None:
                raise refuse(Code.CONFLICT, f"camera {name}", expected="a new name", got=f"one that is {state}")
            await t.execute(
                insert(cameras).values(
                    org=org,
                    id=name,
                    public_key=public_key,
                    key_id=camera_key_id(public_key),
                    state="enrolled",
                    team=team,
                    enrolled_at=now,
                    reason=reason,
                )
            )
            await t.execute(
                insert(device_changes).values(org=org, camera=name, change="add", reason=reason, by=by, at=now)
            )
        self.hub.publish(str(org), "camera", {"camera": name, "state": "enrolled"})
        self.hub.publish(str(org), "device", {"camera": name})

    async def remove_camera(self, org: Org | str, camera: str, *, by: str, reason: ChangeReason) -> None:
        """Take a camera out of use. What it recorded stays, and what is still on it may yet come in, put apart."""
        policy, now = await self._policy(org), self.clock()
        verdict = judge_back_office(policy, await self.person(org, by, now), Act.DEVICE_REMOVE)
        await self._check(org, verdict, who=by, what="device.remove")
        _check_reason(reason)
        state = "lost" if reason == "loss" else "removed"
        await self._write_ahead(org, "camera.revoked", subject=camera, actor=by, facts={"reason": reason})
        async with self.database.transaction() as t:
            done = await t.execute(
                update(cameras)
                .where(cameras.c.org == org, cameras.c.id == camera, cameras.c.state == "enrolled")
                .values(state=state, reason=reason)
            )
            if done.rowcount != 1:
                raise refuse(Code.CONFLICT, f"camera {camera}", expected="an enrolled camera", got="another state")
            await t.execute(
                insert(device_changes).values(org=org, camera=camera, change="remove", reason=reason, by=by, at=now)
            )
        self.hub.publish(str(org), "camera", {"camera": camera, "state": state})
        self.hub.publish(str(org), "device", {"camera": camera})


def _check_reason(reason: str) -> None:
    if reason not in REASONS:
        raise refuse(Code.MALFORMED, "reason", expected=" | ".join(REASONS), got=reason)

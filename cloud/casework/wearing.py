"""Which team a camera belongs to, and who wears it. By whoever may add devices; wearers by the policy's own rule."""

from sqlalchemy import func, insert, or_, select, update

from broker.wire.ids import Org, parse_device
from broker.wire.policy import Act
from broker.wire.refusals import Code, refuse
from cloud.casework.office import Office
from cloud.database.tables import cameras, policies, shifts
from cloud.rules.rights import judge_area, judge_back_office, judge_wearer


class Wearing(Office):
    """Who wears what, from now on."""

    async def assign_team(self, org: Org | str, camera: str, *, by: str, team: str | None) -> None:
        """Give a camera to a team (None: to nobody); raise Denied when cameras are not used there yet."""
        policy, now, name = await self._policy(org), self.clock(), parse_device(camera)
        verdict = judge_back_office(policy, await self.person(org, by, now), Act.DEVICE_ADD)
        await self._check(org, verdict, who=by, what="device.assign")
        await self._check_enrolled(org, name)
        if team is not None:
            async with self.database.transaction() as t:
                first = select(func.min(policies.c.adopted_at)).where(policies.c.org == org)
                start = (await t.execute(first)).scalar_one_or_none()
            verdict = judge_area(policy, team, start=start or now, now=now)
            await self._check(org, verdict, who=by, what="device.assign")
        await self._write_ahead(org, "camera.assigned", subject=name, actor=by, facts={"team": team})
        async with self.database.transaction() as t:
            await t.execute(update(cameras).where(cameras.c.org == org, cameras.c.id == name).values(team=team))
        self.hub.publish(str(org), "camera", {"camera": name})

    async def assign_wearer(self, org: Org | str, camera: str, *, by: str, official: str | None) -> None:
        """Let somebody wear a camera from now on (None: nobody). What ran for either of them ends now.

        Raises Denied (no right, or somebody who may not wear one), NOT_FOUND, LEDGER_UNWRITABLE.
        """
        policy, now, name = await self._policy(org), self.clock(), parse_device(camera)
        verdict = judge_back_office(policy, await self.person(org, by, now), Act.DEVICE_ADD)
        await self._check(org, verdict, who=by, what="device.assign")
        await self._check_enrolled(org, name)
        if official is not None:
            card = next((each for each in await self.officials(org, now) if each.id == official), None)
            if card is None:
                raise refuse(Code.NOT_FOUND, "official", expected="somebody who works here", got=official)
            verdict = judge_wearer(
                policy,
                function=card.function,
                department=card.department,
                hired=False,
                trained=True,  # neither is in the register: who assigns sees to it
            )
            await self._check(org, verdict, who=by, what="device.assign")
        await self._write_ahead(org, "camera.assigned", subject=name, actor=by, facts={"wearer": official})
        async with self.database.transaction() as t:
            await t.execute(
                update(shifts)
                .where(
                    shifts.c.org == org,
                    or_(shifts.c.camera == name, shifts.c.official == official),
                    shifts.c.starts_at <= now,
                    or_(shifts.c.ends_at.is_(None), shifts.c.ends_at > now),
                )
                .values(ends_at=now)
            )
            if official is not None:
                await t.execute(
                    insert(shifts).values(id=self._new_id(), org=org, official=official, camera=name, starts_at=now)
                )
        self.hub.publish(str(org), "camera", {"camera": name})

    async def _check_enrolled(self, org: Org | str, camera: str) -> None:
        async with self.database.transaction() as t:
            query = select(cameras.c.state).where(cameras.c.org == org, cameras.c.id == camera)
            state = (await t.execute(query)).scalar_one_or_none()
        if state != "enrolled":
            raise refuse(Code.CONFLICT, f"camera {camera}", expected="an enrolled camera", got=state or "none")

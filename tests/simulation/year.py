"""A year of a town in virtual time: people act, forget, fall ill and change their minds, all from one seed.

Real are database, casework, admission, expiry clock and retention worker. Kluis, vault and ledger remember instead of
encrypting. What people try is random and often refused; what must hold whatever they try stands in `laws.py`.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import insert, select

from broker.wire.events import Event
from broker.wire.ids import DeviceId, Org, RecordingId
from broker.wire.policy import CaseKind, Policy
from broker.wire.recording import ChainState
from broker.wire.refusals import Refused
from cloud.casework.cases import DECISIONS, STEPS, Case
from cloud.casework.office import Denied
from cloud.database.tables import cameras, cases, docks, holds, officials, recordings, segments, shifts
from cloud.intake.circumstances import decided, judge, look_around
from cloud.retention.clock import ExpiryClock
from cloud.rules.seats import Involvement, seating
from cloud.rules.seats import judge_pair as may_sit
from tests.adapters.casework.office import LONG_AGO, Town
from tests.adapters.retention.means import CertifyingKluis, Crash, RememberingVault, worker_of

HERE = ZoneInfo("Europe/Amsterdam")
OFFICERS = 50
HEADS = ("po", "cm", "gs", "vc", "co")
ROLE_OF = {
    "po": "privacy_officer", "cm": "cluster_manager", "gs": "municipal_secretary", "vc": "safety_coordinator",
    "co": "coordinator",
}  # fmt: skip
HOLIDAYS = frozenset(
    date(2026, month, day)
    for month, day in ((1, 1), (4, 3), (4, 5), (4, 6), (4, 27), (5, 5), (5, 14), (5, 24), (5, 25), (12, 25), (12, 26))
)
DEMAND = {"authority": "OM", "reference": "PL", "date": "2026-01-01", "article": "126nda Sv", "scope": "alles"}


class WeeklyClock(ExpiryClock):
    """Names what is held past its term once a week: a release names it at once anyway, and a year is long."""

    def _wait(self, state: str) -> timedelta:
        return timedelta(days=7) if state == "held" else super()._wait(state)


@dataclass
class Waiting:
    """Footage that is still on a card."""

    recording: str
    officer: str
    camera: str
    started_at: datetime
    ended_at: datetime
    docks_at: datetime


@dataclass
class Year:
    """One town, one seed."""

    town: Town
    seed: int
    kluis: CertifyingKluis
    vault: RememberingVault
    dice: random.Random = field(init=False)
    on_cards: list[Waiting] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    seated: int = 0
    doing: str = ""
    policy: Policy = field(init=False)
    expiry: ExpiryClock = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.worker = worker_of(self.town, self.kluis, self.vault)
        self.expiry = WeeklyClock(
            self.town.database,
            self._hand_over,
            self.town.clock,
            org=Org(self.town.org),
            oin="00000000000000000000",
            service=DeviceId("svc-clock"),
            casework=self.town.casework,
        )

    # --- the days -----------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Hire fifty officers, each with a camera."""
        self.policy = await self.town.policies.current(self.town.org)
        self.town.clock.now = datetime(2026, 1, 1, 7, 0, tzinfo=UTC)
        async with self.town.database.transaction() as t:
            await t.execute(insert(docks).values(org=self.town.org, id="dock-01", station="x", state="enrolled"))
            for n in range(OFFICERS):
                key = hashlib.sha256(b"%d" % n).digest()
                await t.execute(
                    insert(cameras).values(
                        org=self.town.org, id=f"cam-{n:02}", public_key=key, key_id=key[:16], state="enrolled",
                        enrolled_at=LONG_AGO,
                    )
                )  # fmt: skip
                await t.execute(
                    insert(officials).values(
                        org=self.town.org, id=f"h-{n:02}", display_name=f"H{n}", function="boa",
                        department="Veiligheid en Handhaving", employed_from=LONG_AGO,
                    )
                )  # fmt: skip

    async def live(self, day: date) -> None:
        """One day: the night's round, the street, the office, the evening's docks, and another round."""
        dice = self.dice
        self.town.clock.now = datetime.combine(day, time(8, dice.randrange(60)), tzinfo=HERE).astimezone(UTC)
        self.expiry._casework = self.town.casework if day.toordinal() % 4 == 0 else None  # what time ends may end late
        self.town.ledger.away = dice.random() < 0.02
        self.kluis.away = dice.random() < 0.02
        self.kluis.crash = dice.choice(["before", "after"]) if dice.random() < 0.2 else ""
        if dice.random() < 0.3 or self.kluis.crash:
            await self.round()
        await self._street()
        if day.weekday() < 5 and day not in HOLIDAYS:
            for _ in range(dice.randint(1, 2)):
                self.town.clock.move(minutes=dice.randint(5, 50))
                await self._office()
        await self._bring_in()
        self.town.ledger.away = self.kluis.away = False
        self.kluis.crash = ""
        await self.town.casework._lapse(self.town.org, self.policy, self.town.clock())
        await self.round()

    async def round(self) -> None:
        """The expiry clock looks; a worker that dies is started again and resumes."""
        self.doing = "a round of the expiry clock"
        for _ in range(3):
            try:
                await self.expiry.look()
            except Crash:
                self.kluis.crash = ""
                self.done["crash"] += 1
                self.worker = worker_of(self.town, self.kluis, self.vault)
                if not self.town.ledger.away and not self.kluis.away:
                    await self.worker.resume(self.town.org)
                continue
            break
        if not self.town.ledger.away and not self.kluis.away:
            await self.worker.resume(self.town.org)

    async def _hand_over(self, _topic: str, event: Event) -> None:
        outcome = await self.worker.handle(event)
        self.done[outcome.outcome] += 1

    # --- the street ---------------------------------------------------------------------------------------------

    async def _street(self) -> None:
        dice = self.dice
        for _ in range(dice.choice([0, 0, 0, 1, 1, 2, 3])):
            self.town.clock.move(minutes=dice.randint(5, 90))
            n = dice.randrange(OFFICERS)
            pair = [n, (n + 1) % OFFICERS] if dice.random() < 0.2 else [n]
            incident = None
            if len(pair) > 1 and not self.town.ledger.away:
                incident = await self._try("incident", self.town.casework.open_incident(
                    self.town.org, by=f"h-{n:02}", label="voorval"
                ))  # fmt: skip
            for each in pair:
                await self._press(each, incident)

    async def _press(self, n: int, incident: str | None) -> None:
        dice, now = self.dice, self.town.clock()
        officer, camera = f"h-{n:02}", f"cam-{n:02}"
        async with self.town.database.transaction() as t:
            await t.execute(
                insert(shifts).values(
                    id=self.town.name(), org=self.town.org, official=officer, camera=camera,
                    starts_at=now - timedelta(hours=2), ends_at=now + timedelta(hours=6),
                )
            )  # fmt: skip
        recording = await self.town.press(officer=officer, camera=camera)
        self.done["press"] += 1
        late = dice.random()
        wait = timedelta(hours=dice.randint(2, 10)) if late < 0.9 else timedelta(days=dice.randint(1, 45))
        if late < 0.98:
            self.on_cards.append(
                Waiting(
                    recording=recording,
                    officer=officer,
                    camera=camera,
                    started_at=now - timedelta(seconds=dice.choice([20, 29, 29, 30, 45])),
                    ended_at=now + timedelta(minutes=dice.randint(1, 20)),
                    docks_at=now + wait,
                )
            )
        answers = {"cause": "x", "event": "y", "bystanders_informed": True, "how": "z", "when": "vooraf"}
        answers |= {"present_staff": [name for name in ("co", "cm", "h-01") if dice.random() < 0.08]}
        if dice.random() < 0.5 or incident:
            report = await self._try(
                "report",
                self.town.casework.save_report(
                    self.town.org, by=officer, answers=answers, recording=recording, incident=incident
                ),
            )
            if report is not None and dice.random() < 0.9:
                await self._try("submit", self.town.casework.submit_report(self.town.org, report.id, by=officer))
        if incident:
            self.incidents.append(incident)

    async def _bring_in(self) -> None:
        """The docks bring in what is there: the real admission, without the bytes."""
        self.town.clock.move(hours=self.dice.randint(1, 3))
        now = self.town.clock()
        for each in [each for each in self.on_cards if each.docks_at <= now]:
            self.on_cards.remove(each)
            self.doing = f"docking {each.recording}"
            recording = RecordingId(UUID(each.recording))
            digests = tuple(hashlib.sha256(f"{each.recording}{n}".encode()).digest() for n in range(2))
            async with self.town.database.transaction() as t:
                around = await look_around(
                    t,
                    recording,
                    org=Org(self.town.org),
                    camera=each.camera,
                    dock="dock-01",
                    at=each.started_at,
                    now=now,
                )
                admission = judge(
                    recording, around, self.policy, chain=ChainState.INTACT, started_at=each.started_at,
                    ended_at=each.ended_at, activated_at=around.activated_at, pre_record_s=0.0,
                )  # fmt: skip
                row = {
                    "id": each.recording, "org": self.town.org, "camera": each.camera, "official": each.officer,
                    "incident": around.incident, "policy_version": 1, "started_at": each.started_at,
                    "ended_at": each.ended_at, "segments": 2, "total_bytes": 10, "chain": "intact",
                    "stop_reason": "officer", "head_sha256": "00" * 32, "last_hash": "00" * 32, "dock": "dock-01",
                    "via": "dock", "received_at": now, "pre_record_s": 0.0, "activated_at": None,
                }  # fmt: skip
                row |= decided(admission, around, started_at=each.started_at, correction=timedelta(0))
                await t.execute(insert(recordings).values(**row))
                for n, digest in enumerate(digests):
                    await t.execute(
                        insert(segments).values(
                            recording=each.recording, sequence=n, digest=digest.hex(), ciphertext_bytes=1,
                            starts_at=each.started_at, ends_at=each.ended_at, flags=0, kind=1,
                        )
                    )  # fmt: skip
            self.kluis.keys.add(each.recording)
            self.vault.held |= {digest.hex() for digest in digests}
            self.done[f"docked {admission.state.value}"] += 1

    # --- the office ---------------------------------------------------------------------------------------------

    async def _office(self) -> None:
        act = self.dice.choices(
            [
                self._register, self._proceed, self._release, self._destroy, self._substitute, self._absence,
                self._look_together, self._decide, self._join, self._leave,
            ],
            weights=[3, 18, 5, 1, 2, 1, 8, 2, 1, 1],
        )[0]  # fmt: skip
        await act()

    async def _register(self) -> None:
        dice, town = self.dice, self.town
        found = await self._some_recordings()
        kind = dice.choice(
            [
                CaseKind.ACCESS_REQUEST,
                CaseKind.ACCESS_REQUEST,
                CaseKind.ACCESS_REQUEST,
                CaseKind.COMPLAINT,
                CaseKind.AANGIFTE,
                CaseKind.OM_DEMAND,
            ]
        )
        by = dice.choice(HEADS)
        received = town.clock() - timedelta(days=dice.choice([0, 0, 0, 1, 3, 10]))
        if dice.random() < 0.35:
            await self._try("emergency", town.casework.emergency_hold(
                town.org, by=by, kind=kind, summary="noodrem", from_at=received - timedelta(hours=6), until_at=received
            ))  # fmt: skip
        elif dice.random() < 0.15 and found:
            officer = await self._officer_of(found[0])
            await self._try("learning", town.casework.register_case(
                town.org, by=officer, kind=CaseKind.LEARNING, summary="leren", recordings=found[:1]
            ))  # fmt: skip
        else:
            incidents = [dice.choice(self.incidents)] if self.incidents and dice.random() < 0.3 else []
            await self._try("case", town.casework.register_case(
                town.org, by=by, kind=kind, summary="zaak", received_at=received, recordings=found,
                incidents=incidents, facts=dict(DEMAND),
            ))  # fmt: skip

    async def _proceed(self) -> None:
        """Take a step in some open case; somebody does this each few days, so most cases end one day."""
        for case in await self._some_cases(3):
            if not case.can:
                continue
            rare = ("withdraw", "extend")
            steps = [each for each in case.can if each not in rare or self.dice.random() < 0.1]
            step = self.dice.choice(steps or case.can)
            by = self.dice.choice(("po", "po", "po", "po", "cm", "gs", "co"))
            await self._try(step, self.town.casework.take_step(
                self.town.org, case.id, step, by=by, facts=self._facts(case, step)
            ))  # fmt: skip
            if case.facts.get("provisional") and self.dice.random() < 0.4:
                await self._try("confirm", self.town.casework.confirm_case(self.town.org, case.id, by=by))

    def _facts(self, case: Case, step: str) -> dict[str, Any]:
        today = self.town.clock().astimezone(HERE).date().isoformat()
        some = [each for each in case.recordings if self.dice.random() < 0.7]
        told = {
            "method": "DigiD", "decision": self.dice.choice(sorted(DECISIONS)), "reason": "r", "attendees": "a",
            "told_no_copy": True, "sent_on": today, "objected_on": today, "objection_sent_on": today,
            "upheld": self.dice.random() < 0.3, "appealed_on": today, "judged_final_on": today, "recordings": some,
            "who": "OvJ", "date": today, "reference": "PL",
        }  # fmt: skip
        return {name: told[name] for name in STEPS[step].facts} if step in STEPS else told

    async def _release(self) -> None:
        async with self.town.database.transaction() as t:
            query = select(holds.c.case_id).where(holds.c.org == self.town.org, holds.c.released_at.is_(None))
            named = sorted(set((await t.execute(query)).scalars()))
        for case in self.dice.sample(named, min(2, len(named))):
            for by in self.dice.sample(["po", "cm", "po", "gs"], 2):
                await self._try("release", self.town.casework.release_case(self.town.org, case, by=by, ground="klaar"))

    async def _destroy(self) -> None:
        for recording in (await self._some_recordings())[:1]:
            for by in self.dice.sample(["po", "cm", "co"], 2):
                await self._try("destroy", self.town.casework.destroy_by_hand(
                    self.town.org, recording, by=by, ground="niet nodig"
                ))  # fmt: skip

    async def _decide(self) -> None:
        async with self.town.database.transaction() as t:
            query = select(recordings.c.id).where(recordings.c.state == "restricted")
            named = (await t.execute(query)).scalars().all()
        if named:
            await self._try("decide", self.town.casework.decide_restricted(
                self.town.org, self.dice.choice(named), by=self.dice.choice(("po", "co")), keep=True, ground="g"
            ))  # fmt: skip

    async def _join(self) -> None:
        found = await self._some_recordings()
        if self.incidents and found:
            await self._try("join", self.town.casework.join_incident(
                self.town.org, self.dice.choice(self.incidents), by="h-00", recordings=found[:1]
            ))  # fmt: skip

    async def _substitute(self) -> None:
        dice, now = self.dice, self.town.clock()
        replaced, substitute = dice.choice(HEADS), dice.choice((*HEADS, "jz", "h-07"))
        start = now + timedelta(days=dice.choice([-2, 0, 0, 3]))
        await self._try("substitute", self.town.casework.appoint_substitute(
            self.town.org, by=dice.choice(("gs", "cm", "fb", "co")), role=ROLE_OF[replaced], replaced=replaced,
            substitute=substitute, from_at=start, until_at=start + timedelta(days=dice.randint(1, 30)), ground="verlof",
        ))  # fmt: skip

    async def _absence(self) -> None:
        await self._try("absent", self.town.casework.mark_absent(
            self.town.org, by="gs", official=self.dice.choice(HEADS),
            until_at=self.town.clock() + timedelta(days=self.dice.randint(1, 20)),
        ))  # fmt: skip

    async def _leave(self) -> None:
        name = f"h-{self.dice.randrange(OFFICERS):02}"
        if self.dice.random() < 0.1:
            await self._try("leave", self.town.leave(name))

    async def _look_together(self) -> None:
        """Any two people ask to sit down for any purpose in any open case; whoever may, are two."""
        found = [case for case in await self._some_cases(1) if case.recordings]
        if not found:
            return
        case, dice, office = found[0], self.dice, self.town.casework
        involvement: Involvement = await office.involvement(self.town.org, case.recordings[:1])
        names = (*HEADS, *HEADS, "jz", "fb", "h-07")
        everybody = {card.id: card.person for card in await office.officials(self.town.org)}
        for _ in range(12):
            first, second = dice.choice(names), dice.choice(names)
            if not {first, second} <= set(everybody):
                continue
            people = (everybody[first], everybody[second])
            for purpose in self.policy.purposes:
                verdict = may_sit(
                    policy=self.policy, purpose=purpose, case_kind=case.kind.value, case_open=True,
                    requester=people[0], second=people[1], involvement=involvement,
                    learner=str(case.facts.get("learner", "")) or None,
                )  # fmt: skip
                if verdict:
                    self.seated += 1
                    learner = str(case.facts.get("learner", "")) or None
                    seats = seating(
                        policy=self.policy, purpose=purpose, people=people, involvement=involvement, learner=learner
                    )
                    assert seats is not None
                    assert len({seat.person for seat in seats}) == 2, f"one person in two seats: {seats}"
                    assert first != second
                    held_for = {seat.substitute_of for seat in seats if seat.substitute_of}
                    assert not held_for & {seat.person for seat in seats}, f"a substitute beside the replaced: {seats}"

    # --- means --------------------------------------------------------------------------------------------------

    async def _try(self, what: str, act: Awaitable[Any]) -> Any:
        """Do something that may well be refused; a refusal is an answer, anything else fails the year."""
        self.doing = what
        try:
            answer = await act
        except (Denied, Refused) as refused:
            self.refused[f"{what}: {refused.refusal.code.name}"] += 1
            return None
        self.done[what] += 1
        return answer

    async def _some_recordings(self) -> list[str]:
        since = self.town.clock() - timedelta(days=self.dice.choice([5, 29, 40]))
        async with self.town.database.transaction() as t:
            query = select(recordings.c.id).where(recordings.c.org == self.town.org, recordings.c.ended_at > since)
            named = list((await t.execute(query)).scalars())
        named += [each.recording for each in self.on_cards]
        return self.dice.sample(sorted(named), min(self.dice.randint(1, 3), len(named)))

    async def _some_cases(self, most: int) -> list[Case]:
        async with self.town.database.transaction() as t:
            query = select(cases.c.id).where(cases.c.org == self.town.org, cases.c.closed_at.is_(None))
            named = sorted((await t.execute(query)).scalars())
        chosen = self.dice.sample(named, min(most, len(named)))
        return [await self.town.casework.case(self.town.org, each) for each in chosen]

    async def _officer_of(self, recording: str) -> str:
        (involvement,) = await self.town.casework.involvements(self.town.org, (recording,))
        return involvement.recorder or "h-00"

"""The fleet: takes in what cameras and docks say, each thing exactly once, and knows what the coordinator must see.

An event and its effect are one transaction; only then is it published to browsers, entered in the ledger and
acknowledged to the broker. Whatever is cut off in between is finished when the message comes again or at the next
start. An activation is never held up by the ledger: the alert comes first, the entry follows.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final, Protocol
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.clock import Clock
from broker.wire import topics
from broker.wire.entries import LedgerEntry
from broker.wire.events import (
    Activation,
    CameraSettings,
    CameraState,
    CommandResult,
    Deactivation,
    DockState,
    Event,
    Said,
    ServiceState,
    Telemetry,
    decode,
    device_of,
    kind_of,
)
from broker.wire.ids import DeviceId, Org, RecordingId, parse_recording
from broker.wire.policy import Policy, camera_settings
from broker.wire.refusals import Code, Refused, refuse
from broker.wire.topics import Channel, Sender, Topic
from cloud.database.engine import Database, finish
from cloud.fleet import records
from cloud.fleet.live import LiveHub
from cloud.fleet.records import PastAlert, PressRow, Sought
from cloud.fleet.together import Together
from cloud.ledger.finding import entries_of
from cloud.rules import alerts as rules
from cloud.rules.alerts import Alert, AlertKind, Limits, alert_data
from cloud.rules.fleet import CameraCard, DockCard, assign, card_data, hear, hear_dock, watch
from cloud.rules.sequences import Arrived, arrived

LOG: Final = logging.getLogger(__name__)

REFRESH_S: Final = 5
"""How old the registry, the roster and the policy may be here: a coordinator who enrols a camera sees it this soon."""

JUMP_S: Final = 10
"""More than this between two looks at the clock: it was moved, or we slept. Then nobody is silent until heard anew."""

SAME_DENIAL_S: Final = 60
"""One identity's same refusal is written down once in this time: a broken device must not fill the log."""

BOOTS_KEPT: Final = 50_000
"""Boots whose numbers stay in memory; what is let go is read from the database when it is needed again."""

WRITTEN_AT_ONCE: Final = 64
"""Messages in one transaction at most: a burst of presses shares it, and nobody waits long behind one."""

FORGET_EVERY: Final = timedelta(hours=1)
"""How often history is looked through for what is older than the policy lets it become."""

CARDS_AT_ONCE: Final = 200
"""After so many cards others get their turn: looking at ten thousand must not hold up a press."""

LONGEST_SESSION: Final = 40
LONGEST_SOURCE: Final = 160
HIGHEST_SEQUENCE: Final = 2**53
"""What JSON numbers and every database hold exactly."""

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
_WIDEST_OFFSET_MS: Final = 10 * 366 * 24 * 3600 * 1000

Readmit = Callable[[RecordingId], Awaitable[object]]
"""Look again at footage that was put apart because its activation had not come. Called at least once; idempotent."""


class Entry(Protocol):
    """An entry that is in the ledger."""

    @property
    def index(self) -> int:
        """Its place, from 0."""


class Tree(Protocol):
    """How far a ledger has got."""

    @property
    def size(self) -> int:
        """The number of entries."""


class Ledger(Protocol):
    """What the fleet asks of the ledger."""

    async def append(
        self, kind: str, *, subject: str, actor: str, at: datetime, facts: Mapping[str, Any], private: str | None = None
    ) -> Entry:
        """Return when the entry is durable; raise Refused (LEDGER_UNWRITABLE)."""

    async def read(self, first: int, last: int) -> tuple[tuple[int, bytes], ...]:
        """Return (index, bytes) of entries first..last-1, as far as there are."""

    def checkpoint(self) -> Tree:
        """Return the newest promise."""


class Policies(Protocol):
    """What the fleet asks of the policies."""

    async def current(self, org: str) -> Policy:
        """Return the policy in force."""


class Outcome(StrEnum):
    """What became of one message."""

    TAKEN = "taken"  # it had its effect, now
    AGAIN = "again"  # it had its effect before
    DENIED = "denied"  # it was refused and written down


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptDue:
    """A camera that should hear how far its events of one boot have arrived."""

    org: Org
    camera: DeviceId
    session: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What became of a message, and who should get a receipt. In each case the broker may forget the message."""

    outcome: Outcome
    receipt: ReceiptDue | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing a camera said. `happened_at` is by its own clock, `received_at` by ours."""

    boot: str
    happened_at: datetime
    received_at: datetime
    said: Said


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pressed:
    """An activation as it is now, and the state of its footage, when that has come."""

    press: PressRow
    footage: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """An event of a camera that is to be written, and its card as it is after it. `at`: by our clock."""

    event: Event
    raw: bytes
    org: Org
    camera: DeviceId
    card: CameraCard
    at: datetime

    @property
    def key(self) -> tuple[str, str]:
        """What makes it one of its own."""
        return self.event.source, str(self.event.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What became of it. `first` is what came first under its name; `pressed` the activation that it tells of."""

    new: bool
    first: bytes | None
    pressed: _Pressed | None


@dataclass(slots=True)
class _Town:
    """What the fleet keeps in memory of one municipality; all of it comes back from the database."""

    org: Org
    cards: dict[DeviceId, CameraCard] = field(default_factory=dict)
    docks: dict[DeviceId, DockCard] = field(default_factory=dict)
    services: dict[DeviceId, str] = field(default_factory=dict)
    teams: dict[DeviceId, str | None] = field(default_factory=dict)
    limits: Limits | None = None
    settings: CameraSettings | None = None
    open_alerts: dict[tuple[Org, AlertKind, str], Alert] = field(default_factory=dict)
    listening_since: datetime | None = None
    looked_at: datetime | None = None
    refreshed_at: datetime | None = None
    kept_for: timedelta | None = None
    forgot_at: datetime | None = None
    unsaved: set[DeviceId] = field(default_factory=set)
    unsaid: set[DeviceId] = field(default_factory=set)
    unentered: dict[UUID, int] = field(default_factory=dict)  # press -> size of the ledger before the first try
    farewells: dict[DeviceId, UUID] = field(default_factory=dict)  # cameras that left -> their last will


class Fleet:
    """Every camera and dock of this installation's municipalities. One per process that writes the database."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        hub: LiveHub,
        policies: Policies,
        clock: Clock,
        *,
        readmit: Readmit | None = None,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._hub = hub
        self._policies = policies
        self._clock = clock
        self._readmit = readmit
        self._towns: dict[Org, _Town] = {}
        self._opening = asyncio.Lock()
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._judging = asyncio.Lock()
        self._arrived: dict[tuple[str, str], Arrived] = {}
        self._denied: dict[tuple[str, str], datetime] = {}
        self._write = Together(self._write_all, most=WRITTEN_AT_ONCE)
        self._mark = Together(self._mark_all, most=WRITTEN_AT_ONCE)

    # --- what is seen ---------------------------------------------------------------------------------------------

    async def load(self, org: str) -> None:
        """Read a municipality's fleet from the database and finish what a crash cut off. Needed before `cards`."""
        await self._town(Org(org))

    def cards(self, org: str) -> tuple[CameraCard, ...]:
        """Return every enrolled camera, by id; nothing for a municipality that is not loaded."""
        town = self._towns.get(Org(org))
        return () if town is None else tuple(card for _, card in sorted(town.cards.items()))

    def card(self, org: str, camera: str) -> CameraCard | None:
        """Return one enrolled camera."""
        town = self._towns.get(Org(org))
        return None if town is None else town.cards.get(DeviceId(camera))

    def docks(self, org: str) -> tuple[DockCard, ...]:
        """Return every enrolled dock, by id."""
        town = self._towns.get(Org(org))
        return () if town is None else tuple(dock for _, dock in sorted(town.docks.items()))

    def services(self, org: str) -> Mapping[str, str]:
        """Return what each service last said of itself: online, offline or lost."""
        town = self._towns.get(Org(org))
        return {} if town is None else {str(name): status for name, status in town.services.items()}

    def alerts(self, org: str) -> tuple[Alert, ...]:
        """Return what somebody must look at now, oldest first."""
        town = self._towns.get(Org(org))
        return () if town is None else tuple(sorted(town.open_alerts.values(), key=lambda alert: alert.since))

    def settings(self, org: str) -> CameraSettings | None:
        """Return what every camera of this municipality should do."""
        town = self._towns.get(Org(org))
        return None if town is None else town.settings

    def is_listening(self, org: str) -> bool:
        """Whether we would hear a camera now; when not, silence means nothing and the page must say so."""
        town = self._towns.get(Org(org))
        return town is not None and town.listening_since is not None

    async def activations(
        self,
        org: str,
        *,
        most: int = 200,
        open_only: bool = False,
        camera: str | None = None,
        before: tuple[datetime, str] | None = None,
    ) -> tuple[PressRow, ...]:
        """Return activations, newest first; with `open_only` those that nobody acknowledged.

        `before` gives the next page: what comes after the press with this moment and recording.
        """
        async with self._database.transaction() as t:
            return await records.presses(t, Org(org), most=most, open_only=open_only, camera=camera, before=before)

    async def count_activations(self, org: str, sought: Sought) -> int:
        """Return how many activations fit."""
        async with self._database.transaction() as t:
            return await records.count_presses(t, Org(org), sought)

    async def fitting_activations(self, org: str, sought: Sought, *, skip: int, most: int) -> tuple[PressRow, ...]:
        """Return activations that fit: first those that wait for somebody, each newest first."""
        async with self._database.transaction() as t:
            return await records.fitting_presses(t, Org(org), sought, skip=skip, most=most)

    async def activation(self, recording: UUID) -> PressRow | None:
        """Return one activation."""
        async with self._database.transaction() as t:
            return await records.press(t, recording)

    async def activations_of(self, org: str, recordings: Iterable[str]) -> dict[str, PressRow]:
        """Return the activations of these recordings, by recording; of another municipality's none."""
        async with self._database.transaction() as t:
            found = await records.presses_of(t, recordings)
        return {str(recording): press for recording, press in found.items() if press.org == org}

    async def history(self, org: str, camera: str, *, most: int = 200) -> tuple[Moment, ...]:
        """Return what a camera said that mattered (no repeated heartbeats), newest first."""
        async with self._database.transaction() as t:
            rows = await records.history(t, Org(org), camera, most=most)
        return tuple(
            Moment(
                boot=row.session,
                happened_at=row.happened_at,
                received_at=row.received_at,
                said=decode(row.raw).said,
            )
            for row in rows
        )

    async def past_alerts(self, org: str, *, camera: str | None = None, most: int = 200) -> tuple[PastAlert, ...]:
        """Return alerts, over or not, newest first."""
        async with self._database.transaction() as t:
            return await records.past_alerts(t, Org(org), camera=camera, most=most)

    # --- what comes in --------------------------------------------------------------------------------------------

    async def on_message(self, topic: str, payload: bytes, *, kept: bool = False) -> Heard:
        """Take one message in. When this returns, the broker may forget it: its effect, or its refusal, is on disk.

        `kept`: the broker delivers what it had kept for a new subscriber, so it says nothing of now. Raises what the
        database raises: then nothing happened, and the message must come again. Cancelling does not cut it in two.
        """
        return await finish(self._take(topic, payload, kept=kept))

    async def _take(self, topic: str, payload: bytes, *, kept: bool) -> Heard:
        try:
            where = topics.parse(topic)
        except ValueError as cause:
            return await self._deny(topic, refuse(Code.MALFORMED, "topic", expected="a known form", got=cause))
        if not payload and where.channel is Channel.STATE:
            return Heard(outcome=Outcome.TAKEN)  # the kept state of a device that left was taken away
        try:
            event = _checked(where, decode(payload), payload)
            town = self._served(where)
            if not await self._knows(town, where):
                if await self._is_farewell(town, where, event):
                    return Heard(outcome=Outcome.TAKEN)
                raise refuse(Code.UNKNOWN_IDENTITY, "message", expected="an enrolled device", got=where.owner)
        except Refused as refused:
            return await self._deny(topic, refused, where=where)
        match where.sender:
            case Sender.CAMERA:
                async with self._turn(where.org, str(where.owner)):
                    return await self._hear_camera(town, topic, event, payload, kept=kept)
            case Sender.DOCK:
                return self._hear_dock(town, event, kept=kept)
            case Sender.SERVICE | Sender.RETENTION:
                return self._hear_service(town, DeviceId(str(where.owner)), event)

    def receipt(self, due: ReceiptDue) -> tuple[int, tuple[int, ...]]:
        """Return (highest sequence without a gap, first missing numbers) of one boot of a camera."""
        got = self._arrived.get((f"{due.org}/{due.camera}", due.session), Arrived())
        return got.upto, got.missing

    def receipts_open(self, org: str) -> tuple[ReceiptDue, ...]:
        """Return the cameras from which events are missing that must be asked again."""
        found = []
        for (device, session), got in self._arrived.items():
            town, _, camera = device.partition("/")
            if town == org and got.missing_count:
                found.append(ReceiptDue(org=Org(town), camera=DeviceId(camera), session=session))
        return tuple(found)

    # --- what people do -------------------------------------------------------------------------------------------

    async def acknowledge(self, recording: UUID, official: str) -> PressRow:
        """Record that this official has seen the activation, and return it; the first one stays.

        Raises Refused: NOT_FOUND, or LEDGER_UNWRITABLE (then nothing happened; the alert goes on).
        """
        return await finish(self._acknowledge(recording, official))

    async def _acknowledge(self, recording: UUID, official: str) -> PressRow:
        async with self._turn("press", str(recording)):
            press = await self.activation(recording)
            if press is None:
                raise refuse(Code.NOT_FOUND, "activation", expected="a known recording", got=recording)
            if press.acknowledged_at is not None:
                return press
            now = self._clock()
            await self._ledger.append(
                "activation.acknowledged",
                subject=str(recording),
                actor=official,
                at=now,
                facts={"camera": press.camera},
            )
            press = await self._write_acknowledged(press, official=official, at=now)
        await self._judge(await self._town(press.org), now)
        return press

    # --- time passing ---------------------------------------------------------------------------------------------

    def listen(self, org: str, *, hearing: bool) -> None:
        """Say whether messages of this municipality reach us from now on. Nobody is silent because we were deaf."""
        town = self._towns[Org(org)]
        town.listening_since = self._clock() if hearing else None
        town.looked_at = self._clock()

    async def refresh(self, org: str) -> None:
        """See registry, roster and policy as they are now; without this call within `REFRESH_S`."""
        await self._refresh(await self._town(Org(org)), self._clock())

    async def look(self, org: str) -> None:
        """Do what time asks for, each second: silence, escalation, a changed registry, entries the ledger missed."""
        town = await self._town(Org(org))
        now = self._clock()
        if town.looked_at is not None and town.listening_since is not None:
            away = now - town.looked_at
            if not timedelta(0) <= away <= timedelta(seconds=JUMP_S):
                town.listening_since = now
        town.looked_at = now
        if town.refreshed_at is None or abs(now - town.refreshed_at) >= timedelta(seconds=REFRESH_S):
            await self._refresh(town, now)
        for number, camera in enumerate(tuple(town.cards)):
            if number % CARDS_AT_ONCE == 0:
                await asyncio.sleep(0)
            if camera in town.cards:
                self._put(town, self._watched(town, town.cards[camera], now))
        await self._save(town, now)
        await self._judge(town, now)
        await self._say(town)
        await self._enter_rest(town)
        await self._forget(town, now)

    # --- cameras --------------------------------------------------------------------------------------------------

    async def _hear_camera(self, town: _Town, topic: str, event: Event, raw: bytes, *, kept: bool) -> Heard:
        now = self._clock()
        org, _, camera = device_of(event.source)
        before = town.cards[camera]
        after = self._watched(town, hear(before, event, at=now, kept=kept), now)
        if isinstance(event.said, Telemetry) or (isinstance(event.said, CameraState) and not _differs(before, after)):
            self._put(town, after)
            due = await self._due_at_birth(town, event) if isinstance(event.said, CameraState) else None
            return Heard(outcome=Outcome.TAKEN, receipt=due)
        numbered = not isinstance(event.said, CameraState)
        written = await self._write(_Said(event=event, raw=raw, org=org, camera=camera, card=after, at=now))
        new, first, pressed = written.new, written.first, written.pressed
        if first != raw:
            twice = refuse(Code.CONFLICT, "event", expected="the same words under the same id", got="other words")
            return await self._deny(topic, twice, where=topics.parse(topic))
        if numbered:
            await self._count(event, org=org, camera=camera)
        if new and pressed is not None:  # before anything else: somebody may need help
            self._hub.publish(org, "activation", press_data(pressed.press))
        if new and camera in town.cards:  # the card may have changed meanwhile, by the roster or the clock
            after = self._watched(town, hear(town.cards[camera], event, at=now, kept=kept), now)
            self._put(town, self._with_missing(after, now), now_say=True)
        if pressed is not None and pressed.press.org == org:
            await self._after_press(town, pressed, new=new)
        if new:
            await self._judge(town, now, only=camera)
        due = (
            ReceiptDue(org=org, camera=camera, session=event.session)
            if numbered
            else await self._due_at_birth(town, event)
        )
        return Heard(outcome=Outcome.TAKEN if new else Outcome.AGAIN, receipt=due)

    async def _write_all(self, waiting: Sequence["_Said"]) -> list["_Written"]:
        """Write everything that waits in one transaction, each event with its effect, and say what became of each."""
        found: dict[int, _Written] = {}
        async with self._database.transaction() as t:
            for org in dict.fromkeys(each.org for each in waiting):
                ours = [each for each in waiting if each.org == org]
                found.update(zip(map(id, ours), await self._write_town(t, org, ours), strict=True))
        return [found[id(each)] for each in waiting]

    async def _write_town(self, t: AsyncConnection, org: Org, said: Sequence["_Said"]) -> list["_Written"]:
        at = said[0].at
        keys = await records.remember_events(t, [(each.event, each.raw) for each in said], org=org, at=at)
        new = [each for each in said if each.key in keys]
        await self._write_presses(t, org, new, at=at)
        for each in new:
            if isinstance(each.event.said, CommandResult):
                await records.answer_command(t, each.event.said, org=org, camera=each.camera, at=at)
        await records.keep_cards(t, [each.card for each in new], at=at)
        told = [each.event.said.recording for each in said if isinstance(each.event.said, Activation)]
        presses, footage = await records.presses_of(t, told), await records.recording_states(t, told)
        return [
            _Written(
                new=each.key in keys,
                first=each.raw if each.key in keys else await records.event_bytes(t, each.event),
                pressed=_pressed(each.event, presses, footage),
            )
            for each in said
        ]

    async def _write_presses(self, t: AsyncConnection, org: Org, new: Sequence["_Said"], *, at: datetime) -> None:
        """Write who pressed and who stopped; a stop that came before its press counts too."""
        pressing = {each.camera: (each, each.event.said) for each in new if isinstance(each.event.said, Activation)}
        offsets = {camera: timedelta(milliseconds=each.card.clock_offset_ms) for camera, (each, _) in pressing.items()}
        worn = await records.wearers(
            t, org, {camera: press.activated_at - offsets[camera] for camera, (_, press) in pressing.items()}
        )
        added = await records.add_presses(
            t,
            [
                records.NewPress(
                    said=press,
                    camera=camera,
                    official=worn.get(camera),
                    late=rules.is_late(
                        activated_at=press.activated_at, received_at=at, clock_offset_ms=each.card.clock_offset_ms
                    ),
                )
                for camera, (each, press) in pressing.items()
            ],
            org=org,
            received_at=at,
        )
        begun = {camera: press for camera, (_, press) in pressing.items() if str(press.recording) in added}
        boots = [(camera, pressing[camera][0].event.session) for camera in begun]
        ended = [(each.camera, each.event.said) for each in new if isinstance(each.event.said, Deactivation)]
        for camera, raw in await records.stops(t, org, boots):
            stop = decode(raw).said
            if isinstance(stop, Deactivation) and stop.recording == begun[DeviceId(camera)].recording:
                ended.append((DeviceId(camera), stop))
        await records.end_presses(t, ended, org=org)

    async def _after_press(self, town: _Town, pressed: _Pressed, *, new: bool) -> None:
        """Tell the ledger and the intake; each of it is finished when the message comes again, or at the next start."""
        press = pressed.press
        if press.ledger_entry is None:
            if new:
                town.unentered[press.recording] = self._ledger.checkpoint().size
            await self._enter(town, press, surely_not_there=new)
        if self._readmit is not None and ((new and press.late) or pressed.footage == "quarantined"):
            await self._readmit(RecordingId(press.recording))

    async def _enter(self, town: _Town, press: PressRow, *, surely_not_there: bool = False) -> None:
        """Put an activation in the ledger once, or leave it for the next look when the ledger cannot be written."""
        recording = press.recording
        async with self._turn("press", str(recording)):
            found: dict[str, tuple[int, LedgerEntry]] = {}
            if not surely_not_there:
                now = await self.activation(recording)
                if now is None or now.ledger_entry is not None:
                    town.unentered.pop(recording, None)
                    return
                since = town.unentered.get(recording, 0)
                found = await self._find({str(recording)}, "activation.received", since=since)
            try:
                index = found[str(recording)][0] if found else (await self._append_press(press)).index
            except Refused as refused:
                LOG.warning("fleet[%s]: activation %s is not in the ledger yet: %s", town.org, recording, refused)
                return
            await self._mark((recording, index))
            town.unentered.pop(recording, None)

    async def _mark_all(self, entries: Sequence[tuple[UUID, int]]) -> list[None]:
        async with self._database.transaction() as t:
            await records.mark_presses(t, entries)
        return [None] * len(entries)

    async def _enter_rest(self, town: _Town) -> None:
        """Put in the ledger what it does not have yet."""
        if not town.unentered:
            return
        async with self._database.transaction() as t:
            waiting = await records.presses_without_entry(t, town.org)
        for press in waiting:
            if press.recording in town.unentered:
                await self._enter(town, press)

    async def _append_press(self, press: PressRow) -> Entry:
        return await self._ledger.append(
            "activation.received",
            subject=str(press.recording),
            actor=press.camera,
            at=press.received_at,
            facts={
                "camera": press.camera,
                "official": press.official,
                "activated_at": press.activated_at.isoformat(),
                "late": press.late,
            },
        )

    async def _find(self, subjects: set[str], kind: str, *, since: int) -> dict[str, tuple[int, LedgerEntry]]:
        """Return the first entry of this kind about each subject, from entry `since` on."""
        found: dict[str, tuple[int, LedgerEntry]] = {}
        size = self._ledger.checkpoint().size
        async for index, _, entry in entries_of(self._ledger.read, size, {kind}, since=since):
            if entry.subject in subjects:
                found.setdefault(entry.subject, (index, entry))
        return found

    async def _write_acknowledged(self, press: PressRow, *, official: str, at: datetime) -> PressRow:
        async with self._database.transaction() as t:
            await records.acknowledge_press(t, press.recording, official=official, at=at)
            written = await records.press(t, press.recording)
        if written is None:
            raise refuse(Code.NOT_FOUND, "activation", expected="a known recording", got=press.recording)
        self._hub.publish(press.org, "acknowledged", press_data(written))
        return written

    def _turn(self, first: str, second: str) -> asyncio.Lock:
        """Return the lock of one camera or one activation; it lives as long as somebody holds or awaits it."""
        lock = self._turns.get((first, second))
        if lock is None:
            lock = self._turns[first, second] = asyncio.Lock()
        return lock

    # --- sequence numbers -----------------------------------------------------------------------------------------

    async def _count(self, event: Event, *, org: Org, camera: DeviceId) -> None:
        key = (f"{org}/{camera}", event.session)
        known = self._arrived.get(key)
        if known is None:
            known = await self._read_sequences(org, camera, event.source, event.session)
        self._arrived[key] = known.plus(event.sequence)
        if len(self._arrived) > BOOTS_KEPT:
            self._arrived = {boot: got for boot, got in self._arrived.items() if got.missing_count or boot == key}

    async def _read_sequences(self, org: Org, camera: DeviceId, source: str, session: str) -> Arrived:
        async with self._database.transaction() as t:
            return arrived(await records.sequences(t, source, session, org=org, device=camera))

    async def _due_at_birth(self, town: _Town, event: Event) -> ReceiptDue | None:
        """A camera that speaks gets a receipt for its boot once, and again while something is missing."""
        _, _, camera = device_of(event.source)
        key = (f"{town.org}/{camera}", event.session)
        known = self._arrived.get(key)
        if known is None:
            known = self._arrived[key] = await self._read_sequences(town.org, camera, event.source, event.session)
            return ReceiptDue(org=town.org, camera=camera, session=event.session) if known.upto else None
        return ReceiptDue(org=town.org, camera=camera, session=event.session) if known.missing_count else None

    def _with_missing(self, card: CameraCard, now: datetime) -> CameraCard:
        known = self._arrived.get((f"{card.org}/{card.camera}", card.boot or ""), Arrived())
        since = (card.missing_since or now) if known.missing_count else None
        return replace(card, missing=known.missing_count, missing_since=since)

    # --- docks and services ---------------------------------------------------------------------------------------

    def _hear_dock(self, town: _Town, event: Event, *, kept: bool) -> Heard:
        _, _, dock = device_of(event.source)
        before = town.docks[dock]
        after = hear_dock(before, event, at=self._clock(), kept=kept)
        town.docks[dock] = after
        if (after.status, after.bays) != (before.status, before.bays):
            self._hub.publish(town.org, "dock", card_data(after))
        return Heard(outcome=Outcome.TAKEN)

    def _hear_service(self, town: _Town, service: DeviceId, event: Event) -> Heard:
        if isinstance(event.said, ServiceState) and town.services.get(service) != event.said.status:
            town.services[service] = event.said.status
            self._hub.publish(town.org, "service", {"service": service, "status": event.said.status})
        return Heard(outcome=Outcome.TAKEN)

    # --- cards and alerts -----------------------------------------------------------------------------------------

    def _watched(self, town: _Town, card: CameraCard, now: datetime) -> CameraCard:
        if town.limits is None:
            return card
        return watch(card, now=now, silent_after_s=town.limits.silent_after_s, listening_since=town.listening_since)

    def _put(self, town: _Town, card: CameraCard, *, now_say: bool = False) -> None:
        before = town.cards.get(card.camera)
        if before == card:
            return
        town.cards[card.camera] = card
        town.unsaved.add(card.camera)
        town.unsaid.add(card.camera)
        if now_say or before is None or _differs(before, card):
            town.unsaid.discard(card.camera)
            self._hub.publish(town.org, "camera", card_data(card))

    async def _say(self, town: _Town) -> None:
        """Tell browsers what changed a little, in portions that they can take in."""
        saying, town.unsaid = sorted(town.unsaid), set()
        for number, camera in enumerate(saying, start=1):
            if camera in town.cards:
                self._hub.publish(town.org, "camera", card_data(town.cards[camera]))
            if number % CARDS_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _save(self, town: _Town, now: datetime) -> None:
        if not town.unsaved:
            return
        saving, town.unsaved = town.unsaved, set()
        async with self._database.transaction() as t:
            cards = [town.cards[camera] for camera in saving if camera in town.cards]
            await records.keep_cards(t, cards, at=now)

    async def _forget(self, town: _Town, now: datetime) -> None:
        """Let go of history that is older than footage may become. Where a camera has not been switched off since, its
        numbers are needed to see a gap: they stay until it is.
        """
        if town.kept_for is None or (
            town.forgot_at is not None and timedelta(0) <= now - town.forgot_at < FORGET_EVERY
        ):
            return
        town.forgot_at = now
        boots = {card.camera: card.boot for card in town.cards.values() if card.boot is not None}
        async with self._database.transaction() as t:
            await records.forget_history(t, town.org, before=now - town.kept_for, boots=boots)

    async def _judge(self, town: _Town, now: datetime, *, only: DeviceId | None = None) -> None:
        """Raise and clear alerts; of one camera only when nothing else can have changed."""
        limits = town.limits
        if limits is None:
            return
        async with self._judging:
            if only is not None:
                card = town.cards.get(only)
                true = [] if card is None else list(rules.judge_camera(card, limits=limits, now=now))
                raised = {key: alert for key, alert in town.open_alerts.items() if alert.about == only}
            else:
                true = []
                for number, card in enumerate(tuple(town.cards.values())):
                    if number % CARDS_AT_ONCE == 0:
                        await asyncio.sleep(0)
                    true.extend(rules.judge_camera(card, limits=limits, now=now))
                true += await self._escalations(town, limits, now)
                raised = town.open_alerts
            change = rules.difference(raised, true)
            if not change.raised and not change.cleared:
                return
            async with self._database.transaction() as t:
                await records.raise_alerts(t, change.raised, at=now)
                await records.clear_alerts(t, change.cleared, at=now)
                for alert in change.raised:
                    if alert.kind is AlertKind.UNACKNOWLEDGED:
                        await records.escalate_press(t, alert.about, at=now)
            for alert in change.raised:
                town.open_alerts[alert.key] = alert
                self._hub.publish(town.org, "alert", {**alert_data(alert), "open": True})
            for alert in change.cleared:
                del town.open_alerts[alert.key]
                self._hub.publish(town.org, "alert", {**alert_data(alert), "open": False})

    async def _escalations(self, town: _Town, limits: Limits, now: datetime) -> list[Alert]:
        async with self._database.transaction() as t:
            waiting = await records.presses(t, town.org, most=1000, open_only=True)
            there = bool(waiting) and await records.somebody_holds(t, town.org, limits.first, now)
        found = []
        for press in waiting:
            alert = rules.judge_press(
                rules.Press(
                    org=press.org,
                    recording=press.recording,
                    camera=press.camera,
                    received_at=press.received_at,
                    acknowledged=False,
                ),
                limits=limits,
                first_is_there=there,
                now=now,
            )
            if alert is not None:
                found.append(alert)
        return found

    # --- the registry ---------------------------------------------------------------------------------------------

    async def _town(self, org: Org) -> _Town:
        town = self._towns.get(org)
        if town is not None:
            return town
        async with self._opening:
            if org not in self._towns:
                self._towns[org] = await self._open(org)
        return self._towns[org]

    async def _open(self, org: Org) -> _Town:
        town, now = _Town(org=org), self._clock()
        async with self._database.transaction() as t:
            kept = await records.kept_cards(t, org)
            town.open_alerts = {alert.key: alert for alert in await records.open_alerts(t, org)}
            unentered = await records.presses_without_entry(t, org)
            waiting = await records.presses(t, org, most=1000, open_only=True)
        town.cards = kept
        await self._refresh(town, now)
        town.unentered = dict.fromkeys((press.recording for press in unentered), 0)
        await self._enter_rest(town)
        await self._finish_acknowledging(waiting)
        return town

    async def _finish_acknowledging(self, waiting: tuple[PressRow, ...]) -> None:
        """Write what the ledger says was acknowledged, when a crash came between the two."""
        entered = {str(press.recording): press for press in waiting if press.ledger_entry is not None}
        if not entered:
            return
        since = min(press.ledger_entry for press in entered.values() if press.ledger_entry is not None)
        found = await self._find(set(entered), "activation.acknowledged", since=since)
        for recording, (_, entry) in found.items():
            await self._write_acknowledged(entered[recording], official=entry.actor, at=entry.at)

    async def _refresh(self, town: _Town, now: datetime) -> None:
        """Read registry, roster and policy anew."""
        policy = await self._policies.current(town.org)
        town.settings = camera_settings(policy)
        town.kept_for = timedelta(days=policy.retention.days)
        town.limits = rules.limits_of(policy, settings_version=town.settings.version)
        async with self._database.transaction() as t:
            cameras = await records.enrolled_cameras(t, town.org)
            docks = await records.enrolled_docks(t, town.org)
            shifts = await records.newest_shifts(t, town.org, now)
        for camera in set(town.cards) - set(cameras):
            del town.cards[camera]
            self._hub.publish(town.org, "camera", {"org": town.org, "camera": camera, "state": "removed"})
        for camera, team in cameras.items():
            card = town.cards.get(camera) or CameraCard(org=town.org, camera=camera)
            self._put(town, assign(card, team=team, shift=shifts.get(camera), now=now))
        for dock in set(town.docks) - set(docks):
            del town.docks[dock]
        for dock, station in docks.items():
            known = town.docks.get(dock) or DockCard(org=town.org, dock=dock, station=station)
            town.docks[dock] = replace(known, station=station)
        town.refreshed_at = now

    def _served(self, where: Topic) -> _Town:
        """Return the town that is spoken in; raise Refused (WRONG_TENANT)."""
        town = self._towns.get(where.org)
        if town is None:
            raise refuse(Code.WRONG_TENANT, "message", expected="a municipality of this installation", got=where.org)
        return town

    async def _knows(self, town: _Town, where: Topic) -> bool:
        """Whether this is a registered device."""
        owner = DeviceId(str(where.owner))
        match where.sender:
            case Sender.CAMERA:
                return owner in town.cards or owner in (await self._look_again(town)).cards
            case Sender.DOCK:
                return owner in town.docks or owner in (await self._look_again(town)).docks
            case Sender.SERVICE | Sender.RETENTION:
                return True

    async def _is_farewell(self, town: _Town, where: Topic, event: Event) -> bool:
        """Whether this is the last will of a camera that was put out of use: what its broker says when it puts it out.

        One will for each camera, as often as it comes. Anything else by such a camera, and a second will (it would have
        got in again), is a denial.
        """
        owner = DeviceId(str(where.owner))
        if not (isinstance(event.said, CameraState) and event.said.status == "lost"):
            return False
        async with self._database.transaction() as t:
            left = await records.camera_left(t, town.org, owner)
        if not left or town.farewells.setdefault(owner, event.id) != event.id:
            return False
        LOG.info("fleet[%s]: the broker has put out %s", town.org, owner)
        return True

    async def _look_again(self, town: _Town) -> _Town:
        """The registry may be newer than our copy of it; at most once a second."""
        now = self._clock()
        if town.refreshed_at is None or abs(now - town.refreshed_at) >= timedelta(seconds=1):
            await self._refresh(town, now)
        return town

    # --- refusals -------------------------------------------------------------------------------------------------

    async def _deny(self, topic: str, refused: Refused, *, where: Topic | None = None) -> Heard:
        """Write a refusal down, once a minute for the same one, and let the broker forget the message."""
        now, code = self._clock(), refused.refusal.code
        who = "unknown" if where is None or where.owner is None else where.owner
        last = self._denied.get((who, code.name))
        if last is not None and timedelta(0) <= now - last < timedelta(seconds=SAME_DENIAL_S):
            return Heard(outcome=Outcome.DENIED)
        if len(self._denied) > 10_000:
            self._denied.clear()
        self._denied[who, code.name] = now
        org = where.org if where is not None else Org("unknown")
        async with self._database.transaction() as t:
            await records.deny(t, org=org, at=now, who=who, what=f"MQTT {topic}"[:200], why=str(refused.refusal)[:500])
        LOG.warning("fleet[%s]: refused a message of %s: %s", org, who, refused.refusal)
        if org in self._towns:
            try:
                await self._ledger.append(
                    "denial", subject=who, actor=who, at=now, facts={"what": "mqtt", "code": code.name.lower()}
                )
            except Refused as unwritable:
                LOG.warning("fleet[%s]: the refusal is in the database only: %s", org, unwritable)
        return Heard(outcome=Outcome.DENIED)


def _pressed(event: Event, presses: Mapping[UUID, PressRow], footage: Mapping[UUID, str]) -> _Pressed | None:
    """Return the activation that this event tells of, and what became of its footage so far."""
    if not isinstance(event.said, Activation) or event.said.recording not in presses:
        return None
    return _Pressed(press=presses[event.said.recording], footage=footage.get(event.said.recording))


def press_data(press: PressRow) -> dict[str, Any]:
    """Return the activation in JSON's own types."""
    builtins: dict[str, Any] = msgspec.to_builtins(press)
    return builtins


def _checked(where: Topic, event: Event, raw: bytes) -> Event:
    """Return the event if topic, source and contents agree and every number can be kept; raise Refused."""
    try:
        org, kind, device = device_of(event.source)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "event", expected="a known source", got=cause) from cause
    if (org, kind, device) != (where.org, where.sender.value, where.owner):
        raise refuse(
            Code.NOT_ALLOWED,
            "event",
            expected=f"source {where.org}:{where.sender.value}:{where.owner}",
            got=event.source,
        )
    if not _belongs(where, event.said):
        raise refuse(Code.MALFORMED, "event", expected=f"what belongs on {where}", got=type(event.said).__name__)
    numbered = where.channel is Channel.EVENT
    if not (1 if numbered else 0) <= event.sequence <= HIGHEST_SEQUENCE:
        raise refuse(Code.MALFORMED, "event", expected=f"a sequence from 1 to {HIGHEST_SEQUENCE}", got=event.sequence)
    if not 0 < len(event.session) <= LONGEST_SESSION or len(event.source) > LONGEST_SOURCE:
        raise refuse(Code.MALFORMED, "event", expected=f"a session of 1 to {LONGEST_SESSION} characters", got="another")
    if b"\\u0000" in raw:
        raise refuse(Code.MALFORMED, "event", expected="text without NUL", got="NUL")
    for moment in _moments(event):
        if moment.tzinfo is None or not _EARLIEST <= moment.replace(tzinfo=UTC) <= _LATEST:
            raise refuse(Code.MALFORMED, "event", expected="a time with its zone after 1970", got=moment)
    if isinstance(event.said, CameraState | Telemetry) and abs(event.said.clock_offset_ms) > _WIDEST_OFFSET_MS:
        raise refuse(Code.MALFORMED, "event", expected="a clock within ten years", got=event.said.clock_offset_ms)
    if isinstance(event.said, CameraState) and event.said.boot != event.session:
        raise refuse(Code.MALFORMED, "event", expected=f"boot {event.session}", got=event.said.boot)
    if isinstance(event.said, Activation):
        try:
            parse_recording(str(event.said.recording))
        except ValueError as cause:
            raise refuse(Code.MALFORMED, "event", expected="a recording's UUIDv7", got=cause) from cause
    return event


def _moments(event: Event) -> tuple[datetime, ...]:
    match event.said:
        case Activation() as said:
            return event.time, said.activated_at
        case Deactivation() as said:
            return event.time, said.ended_at
        case _:
            return (event.time,)


def _belongs(where: Topic, said: Said) -> bool:
    match where.sender, where.channel:
        case Sender.CAMERA, Channel.STATE:
            return isinstance(said, CameraState)
        case Sender.CAMERA, Channel.TELEMETRY:
            return isinstance(said, Telemetry)
        case Sender.CAMERA, Channel.EVENT:
            try:
                return kind_of(said) == where.kind
            except ValueError:
                return False
        case Sender.DOCK, Channel.STATE:
            return isinstance(said, DockState)
        case Sender.SERVICE, Channel.STATE:
            return isinstance(said, ServiceState)
        case _:
            return False


_PASSING: Final = ("last_seen_at", "said_at", "battery_pct", "card_free_pct", "temperature_c", "clock_offset_ms")
_lasting = attrgetter(*(each.name for each in fields(CameraCard) if each.name not in _PASSING))


def _differs(before: CameraCard, after: CameraCard) -> bool:
    """Whether more changed than readings that change all the time."""
    return bool(_lasting(before) != _lasting(after))

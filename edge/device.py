"""One camera alive: fills its ring, does what the state machine says, writes its card, says what happened.

What a camera films goes into a ring in memory, one fragment per second. Only a press lets anything out of it: then the
ring's last seconds and everything after them are sealed onto the card by a task of their own.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import msgspec

from broker.client import Connection, Endpoint
from broker.clock import Clock
from broker.wire.commands import Answer, Listener, judge
from broker.wire.events import (
    Activation,
    CameraSettings,
    CameraState,
    Command,
    CommandResult,
    Deactivation,
    Docked,
    LowStorage,
    Place,
    Tamper,
    Telemetry,
    Undocked,
)
from broker.wire.ids import DeviceId, RecordingId, uuid7
from broker.wire.keylist import KeyList, read_keylist
from broker.wire.recording import Flag, Kind, StopReason
from broker.wire.refusals import Refused
from edge import link as mqtt
from edge.card import CardBroken, CardFull, Closed, Found, MemoryCard, Plain
from edge.certificate import OwnCertificate
from edge.enrolment import Enrolment, public_key, read_enrolment
from edge.footage import Film, FootageProblem, Source, Template
from edge.outbox import Outbox
from edge.pulse import Pulse
from edge.rules.camera import (
    Camera,
    Effect,
    Happening,
    Phase,
    Publish,
    StartRecording,
    StopRecording,
    Vibrate,
    WipeReceipted,
    Word,
    buffers,
    keeps_footage,
    post_record_ends_at,
    step,
)
from edge.rules.ring import kept_before_press, still_needed, survivors
from edge.state import DeviceState
from edge.stations import Bay, NoBayFree, Stations
from edge.threads import Threads
from edge.unsaid import recordings_of, told_anew

LOG: Final = logging.getLogger(__name__)

FRAGMENT_S: Final = 1.0
"""Length of a fragment: one closed group of pictures. Also how much a power cut can take, and how exact a ring is."""

CLOCK_SLACK_S: Final = 2.0
"""How far the shown clock may differ from the device's own time before it counts as moved; times the clock's rate."""

FAST_TICK_S: Final = 0.2
"""Wall time between looks at the lens when the clock runs fast: several fragments are then taken at once."""

FAST: Final = 4.0
"""Clock rate from which that is so."""

WIPE_LOOK_S: Final = 0.5
"""Wall time between looks for receipts while in a bay."""

BATTERY_LOOK_S: Final = 5.0
"""Device time between two readings of the battery."""

STANDBY_LASTS_S, RECORDING_LASTS_S, CHARGING_TAKES_S = 12 * 3600.0, 6 * 3600.0, 2.5 * 3600.0
"""A full battery in stand-by and while recording, and filling an empty one: of the class of device, not of one."""

LOW_STORAGE_PCT: Final = 10
"""Free card space below which the camera says so."""

GOODBYE_S: Final = 2.0
"""Wall time that switching off waits for the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One second of footage in memory. The picture is shared by the fleet until it becomes this camera's own."""

    starts_at: datetime
    ends_at: datetime
    monotonic_us: int
    counter: int
    gap_before: bool
    template: Template = field(repr=False)


@dataclass(slots=True, kw_only=True)
class _Grid:
    """Where seconds begin: device time and shown time of the first one, and how many were filmed since."""

    began: float
    shown: datetime
    filmed: int = 0
    missed: bool = False


@dataclass(slots=True, kw_only=True)
class _Take:
    """One recording on its way to the card."""

    recording: RecordingId
    pressed_at: datetime
    since: datetime
    init: bytes = field(repr=False)
    first: int
    waiting: list[tuple[Held, Flag]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    next_flags: Flag = Flag.NONE
    last_wanted: StopRecording | None = None
    stopped: StopRecording | None = None

    def add(self, held: Held, flags: Flag) -> None:
        self.waiting.append((held, flags | self.next_flags))
        self.next_flags = Flag.NONE
        self.news.set()

    def stop(self, why: StopRecording) -> None:
        self.stopped = self.stopped or why
        self.news.set()


class Device:
    """A camera. `open` switches it on, `run` lets it live, `happen` is everything that can be done to it."""

    def __init__(
        self,
        folder: Path,
        *,
        endpoint: Endpoint,
        films: Source,
        number: int,
        stations: Stations,
        clock: Clock,
        pulse: Pulse,
        threads: Threads,
        card_bytes: int,
        opened: Callable[[], AbstractAsyncContextManager[Connection]] | None = None,
    ) -> None:
        """Read the camera's own files; raise NotEnrolled. `number` chooses its film and where in it it begins."""
        self._enrolment, self._key = read_enrolment(folder / "device")
        self._clock, self._pulse, self._threads = clock, pulse, threads
        self._films, self._number = films, number
        self._stations = stations
        self._booted_at = clock()
        self._boot = uuid7(self._booted_at, secrets.token_bytes(10))
        self._state = DeviceState(folder / "device" / "state.json")
        self.card = MemoryCard(
            folder / "card",
            org=self._enrolment.municipality,
            camera=self._enrolment.device,
            signing_key=self._key,
            receipt_key=public_key(self._enrolment.receipt_key),
            limit_bytes=card_bytes,
        )
        self._certificate = OwnCertificate(
            folder / "card",
            org=self._enrolment.municipality,
            camera=self._enrolment.device,
            signing_key=self._key,
            ca=endpoint.ca,
            certificate=endpoint.certificate,
            key=endpoint.key,
        )
        self._camera = Camera()
        self._happening = asyncio.Lock()
        self._awake = asyncio.Event()
        self._ring: tuple[Held, ...] = ()
        self._grid: _Grid | None = None
        self._film: Film | None = None
        self._film_has_sound = False
        self._take: _Take | None = None
        self._takes: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._battery = self._state.now.battery_pct
        self._battery_read = pulse()
        self._clock_seen = (pulse(), self._booted_at)
        self._low_storage_said = False
        self._mishaps = 1  # how often something may have been left open on the card; the first is before this boot
        self._seen_to = 0  # how many of them the card was gone through after, and what was found was told
        self._strange_said: set[str] = set()
        self._card_sick_said = False
        self._keys = self._newest_keys()
        self.ready = asyncio.Event()
        """Set when the camera has booted."""
        self.bay: Bay | None = None
        self.place: Place | None = None
        self.link = mqtt.Link(
            enrolment=self._enrolment,
            endpoint=endpoint,
            outbox=Outbox(folder / "device" / "outbox"),
            camera=mqtt.Camera(
                state=self._says_state, telemetry=self._says_telemetry, settings=self.take_settings, obey=self._obey
            ),
            boot=str(self._boot),
            clock=clock,
            pulse=pulse,
            threads=threads,
            opened=opened,
        )

    @property
    def id(self) -> DeviceId:
        """The camera's id."""
        return self._enrolment.device

    @property
    def phase(self) -> Phase:
        """What the camera is doing."""
        return self._camera.phase

    @property
    def battery_pct(self) -> float:
        """How full the battery is."""
        return self._battery

    @property
    def ring(self) -> tuple[Held, ...]:
        """What is held in memory, oldest first."""
        return self._ring

    @property
    def settings(self) -> CameraSettings | None:
        """What the municipality's policy asks of this camera, or None when nobody has told it yet."""
        return self._state.now.settings

    @property
    def busy(self) -> bool:
        """Whether a recording is still on its way to the card."""
        return bool(self._takes)

    async def run(self) -> None:
        """Live until cancelled. Raises FootageProblem when there is nothing to film with."""
        if self.settings is not None:
            self.link.heartbeat(self.settings.heartbeat_s)
        await self._wake_up()
        name = f"edge[{self.id}]"
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self.link.run(), name=f"{name}.link")
            self._group.create_task(self._filming(), name=f"{name}.film")
            self._group.create_task(self._wiping(), name=f"{name}.wipe")
            self._group.create_task(self._watching(), name=f"{name}.battery")

    async def switch_off(self) -> None:
        """Power off: close what is being recorded, say goodbye. Call before cancelling `run`."""
        await self.happen(Happening.POWER_OFF)
        await self.settled()
        await self.link.say_goodbye(within_s=GOODBYE_S)
        await self._threads(self._remember)

    def _remember(self) -> None:
        """Write what the next boot must know. Where this does not come about, it tells all presses on the card anew.

        A recording may have been closed whose end was not told yet: then only what was said before is known to be said.
        """
        pressed, ended = recordings_of(self.link.in_memory)
        said = tuple(str(each) for each in self.card.recordings() if each not in pressed | ended)
        told = self._seen_to == self._mishaps
        self._state.change(battery_pct=self._battery, said=said if told else self._state.now.said)

    async def settled(self) -> None:
        """Return when no recording is on its way to the card any more."""
        while self._takes:
            await asyncio.wait(set(self._takes))

    def close(self) -> None:
        """Let another process have this camera."""
        self._state.close()

    # --- what happens to it -------------------------------------------------------------------------------------

    async def happen(self, happening: Happening) -> str | None:
        """Let this happen to the camera; return why nothing changed, or None when it did."""
        if happening in (Happening.PRESS, Happening.ORDER_START) and self._take is None and await self._clock_moved():
            self._grid, self._ring = None, ()
        async with self._happening:
            if happening in (Happening.PRESS, Happening.ORDER_START) and self._keys is None:
                why = "the camera has no key list: nobody could open what it would record; dock it first"
                await self._tell_tamper(why)
                return why
            result = step(self._camera, happening, self.settings, self._clock())
            if result.refused is not None:
                LOG.info("%s: %s: %s", self.id, happening, result.refused)
                return result.refused
            self._camera = result.camera
            for effect in result.effects:
                await self._carry_out(effect)
            self._awake.set()
            return None

    async def dock(self) -> str | None:
        """Place the camera in a free bay; return why not, or None."""
        try:
            self.bay = await self._threads(self._stations.put, self.card.folder)
        except (NoBayFree, OSError) as cause:
            return str(cause)
        return await self.happen(Happening.DOCKED)

    async def undock(self) -> str | None:
        """Take the camera out of its bay; return why not, or None."""
        if self.phase is not Phase.DOCKED:
            return "the camera is not in a bay"
        try:
            await self._threads(self._stations.take, self.card.folder)
        except OSError as cause:
            return str(cause)
        refused = await self.happen(Happening.UNDOCKED)
        self.bay = None
        return refused

    async def _wake_up(self) -> None:
        """Boot: close what a power cut interrupted, then switch on, in the bay if that is where the camera is."""
        mishaps, found = self._mishaps, await self._threads(self.card.recover, now=self._booted_at)
        before = self._state.now.said
        for said in await self._threads(told_anew, self.card, said=before, waiting=self.link.waiting):
            if isinstance(said, Activation):
                await self.link.tell(said)
            elif said not in found.closed:
                await self._tell_stopped(said)
        await self._tell_found(found, mishaps)
        for what in self.link.strange:
            await self._tell_tamper(what)
        self.bay = await self._threads(self._stations.where, self.card.folder)
        await self.happen(Happening.DOCKED if self.bay else Happening.POWER_ON)
        self.ready.set()

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case StartRecording():
                await self._start(effect)
            case StopRecording():
                self._stop(effect)
            case Publish():
                await self._say(effect.word)
            case WipeReceipted():
                self._awake.set()
            case Vibrate():
                LOG.debug("%s: vibrates %s", self.id, effect.buzz)

    async def _say(self, word: Word) -> None:
        match word:
            case Word.STATE:
                self.link.tell_state()
            case Word.DOCKED if self.bay is not None:
                await self.link.tell(Docked(dock=self.bay.dock, bay=self.bay.number))
            case Word.UNDOCKED if self.bay is not None:
                await self.link.tell(Undocked(dock=self.bay.dock, bay=self.bay.number))
            case Word.DOCKED | Word.UNDOCKED:
                LOG.warning("%s: %s, but in no bay that is known", self.id, word)
            case Word.LOW_STORAGE:
                await self.link.tell(LowStorage(card_free_pct=self.card.free_pct))
            case Word.CARD_BROKEN:
                await self._tell_tamper("the memory card cannot be written")
            case Word.CLOCK_MOVED:
                await self._tell_tamper("the clock was moved while recording; the recording was closed")

    async def _tell_tamper(self, what: str) -> None:
        LOG.warning("%s: %s", self.id, what)
        await self.link.tell(Tamper(what=what))

    async def _tell_found(self, found: Found, mishaps: int) -> None:
        """Tell what was found after so many mishaps; one that came meanwhile is another reason to look."""
        for closed in found.closed:
            await self._tell_stopped(closed)
        for what in found.strange:
            if what not in self._strange_said:
                await self._tell_tamper(what)
        self._strange_said.update(found.strange)
        if not found.strange:  # what failed is tried again in the bay
            self._seen_to = mishaps

    async def _tell_stopped(self, closed: Closed) -> None:
        await self.link.tell(
            Deactivation(
                recording=closed.recording,
                ended_at=closed.ended_at,
                segments=closed.segments,
                stop_reason=closed.reason.name.lower().replace("_", "-"),
            )
        )

    # --- settings and orders ------------------------------------------------------------------------------------

    async def take_settings(self, settings: CameraSettings) -> None:
        """Take over what the municipality wants; older settings than it has are ignored."""
        held = self.settings
        if held == settings:
            return
        if held is not None and settings.version < held.version:
            LOG.warning("%s: settings %d are older than %d: ignored", self.id, settings.version, held.version)
            return
        await self._threads(self._state.change, settings=settings)
        self.link.heartbeat(settings.heartbeat_s)
        await self.happen(Happening.SETTINGS)

    async def _obey(self, command: Command, retained: bool) -> None:
        listener = Listener(
            org=self._enrolment.municipality,
            camera=self.id,
            key=public_key(self._enrolment.command_key),
            booted_at=self._booted_at,
            highest=self._state.now.highest_command,
        )
        answer = judge(command, listener, retained=retained, now=self._clock())
        if answer is Answer.FORGED:
            await self._tell_tamper(f"an order came that was {answer.because}")
            return
        if not answer.obeys:
            LOG.info("%s: order %s not obeyed: %s", self.id, command.command, answer.because)
            if answer is not Answer.REPLAYED:
                await self.link.tell(CommandResult(command=command.command, done=False, reason=answer.because))
            return
        await self._threads(self._state.change, highest_command=command.counter)
        order = Happening.ORDER_START if command.order == "start" else Happening.ORDER_LOCATE
        refused = await self.happen(order)
        await self.link.tell(
            CommandResult(command=command.command, done=refused is None, reason=refused or answer.because)
        )

    def _newest_keys(self) -> KeyList | None:
        """Return the key list with the latest week among those this camera holds and the Kluis signed."""
        lists = []
        for text in (self._enrolment.keylist, self._state.now.keylist):
            if text is not None:
                try:
                    lists.append(read_keylist(text.encode(), public_key(self._enrolment.kluis_key)))
                except Refused as cause:
                    LOG.warning("%s: %s", self.id, cause)
        return max(lists, key=lambda each: each.issued_at, default=None)

    # --- filming ------------------------------------------------------------------------------------------------

    @property
    def _films_now(self) -> bool:
        return self._take is not None or keeps_footage(self.phase) or buffers(self.phase, self.settings)

    async def _filming(self) -> None:
        while True:
            if not self._films_now:
                self._grid, self._ring = None, ()
                self._awake.clear()
                await self._awake.wait()
                continue
            await self._load_film()
            grid = self._grid = self._grid or self._new_grid()
            due = grid.began + (grid.filmed + 1) * FRAGMENT_S
            fast = FAST_TICK_S if self._pulse.rate >= FAST else 0.0
            await self._pulse.sleep(due - self._pulse(), at_least_wall_s=fast)
            moved = await self._clock_moved()
            if grid is not self._grid:
                continue
            self._film_what_is_due(grid, by=self._pulse())
            if moved:
                self._grid, self._ring = None, ()
            over = post_record_ends_at(self._camera, self.settings)
            if over is not None and over <= self._clock():
                await self.happen(Happening.POST_RECORD_OVER)

    def _new_grid(self) -> _Grid:
        """Begin counting seconds now, or at the press when that is what made the camera film."""
        shown = self._clock()
        return _Grid(began=self._pulse(), shown=shown)

    async def _load_film(self) -> None:
        """Have the film that fits the settings: with sound only where they say so; no change during a recording."""
        sound = self.settings.sound if self.settings else False
        if self._film is not None and (sound == self._film_has_sound or self._take is not None):
            return
        film = await self._films.of(self._number, sound=sound)
        first, changed = self._film is None, film is not self._film
        if changed:
            self._grid, self._ring = None, ()
        self._film, self._film_has_sound = film, sound
        if first:
            self.link.tell_state()  # only now it buffers

    def _film_what_is_due(self, grid: _Grid, *, by: float) -> None:
        while grid.began + (grid.filmed + 1) * FRAGMENT_S <= by and self._films_now:
            self._film_second(grid)

    def _film_second(self, grid: _Grid) -> None:
        assert self._film is not None
        number = round(grid.began) + grid.filmed
        starts_at = grid.shown + timedelta(seconds=grid.filmed * FRAGMENT_S)
        began = grid.began + grid.filmed * FRAGMENT_S
        grid.filmed += 1
        template = self._film.second(number + 5 * self._number)
        if template is None:
            grid.missed = True
            return
        held = Held(
            starts_at=starts_at,
            ends_at=starts_at + timedelta(seconds=FRAGMENT_S),
            monotonic_us=round(began * 1_000_000),
            counter=number,
            gap_before=grid.missed,
            template=template,
        )
        grid.missed = False
        pre_record = timedelta(seconds=self.settings.pre_record_s if self.settings else 0)
        self._ring = still_needed((*self._ring, held), now=held.ends_at, pre_record=pre_record)
        if self._take is not None:
            self._keep_live(self._take, held)

    def _keep_live(self, take: _Take, held: Held) -> None:
        if held.starts_at < take.since:
            return  # never more than the policy, also when the lens was looked at late
        wanted = take.last_wanted
        last = wanted is not None and held.ends_at >= wanted.stopped_at
        take.add(held, _flags(held, take) | (Flag.LAST if last else Flag.NONE))
        if wanted is not None and last:
            take.stop(wanted)
            self._take = None

    async def _clock_moved(self) -> bool:
        """Notice that somebody moved the clock: mark what is being filmed, close it, and begin anew."""
        pulse, shown = self._pulse(), self._clock()
        before, shown_before = self._clock_seen
        self._clock_seen = (pulse, shown)
        strayed = (shown - shown_before).total_seconds() - (pulse - before)
        if abs(strayed) <= CLOCK_SLACK_S * max(1.0, self._pulse.rate):
            return False
        LOG.info("%s: the clock moved by %.0f s", self.id, strayed)
        if self._take is not None:
            self._take.next_flags = Flag.CLOCK_UNSYNCHRONISED
        await self.happen(Happening.CLOCK_MOVED)
        if self._take is not None and self._take.last_wanted is not None and self._grid is not None:
            # The second that is being filmed still stands on the old clock, and so must its end.
            old = self._grid.shown + timedelta(seconds=self._grid.filmed * FRAGMENT_S)
            self._take.last_wanted = replace(self._take.last_wanted, stopped_at=old)
        return True

    # --- recording ----------------------------------------------------------------------------------------------

    async def _start(self, start: StartRecording) -> None:
        await self._load_film()
        assert self._film is not None
        assert self._group is not None
        if self._grid is not None:  # the ring reaches up to the press and no further, however long nobody looked
            pressed = self._grid.began + (start.pressed_at - self._grid.shown).total_seconds()
            self._film_what_is_due(self._grid, by=min(pressed, self._pulse()))
        kept = survivors(self._ring, pressed_at=start.pressed_at, pre_record=start.pre_record)
        take = _Take(
            recording=RecordingId(uuid7(start.pressed_at, secrets.token_bytes(10))),
            pressed_at=start.pressed_at,
            since=start.pressed_at - start.pre_record,
            init=self._film.init,
            first=kept[0].counter if kept else -1,
        )
        if self._take is not None and self._take.last_wanted is not None:
            self._take.stop(self._take.last_wanted)  # pressed again within the second that was still being filmed
        for held in kept:
            take.add(held, _flags(held, take))
        self._take = take
        if self._grid is None:
            self._grid = _Grid(began=self._pulse(), shown=start.pressed_at)
        task = self._group.create_task(self._write(take), name=f"edge[{self.id}].recording[{take.recording}]")
        self._takes.add(task)
        task.add_done_callback(self._takes.discard)
        reach = kept_before_press(kept, pressed_at=start.pressed_at)
        await self.link.tell(
            Activation(
                recording=take.recording,
                activated_at=start.pressed_at,
                pre_record_s=round(reach.total_seconds(), 3),
                place=self.place,
            )
        )

    def _stop(self, stop: StopRecording) -> None:
        take = self._take
        if take is None:
            return
        if stop.at_once:
            take.stop(stop)
            self._take = None
        else:
            take.last_wanted = stop

    async def _write(self, take: _Take) -> None:
        """Carry one recording to the card: head, initialisation segment, ring, live seconds, end record."""
        assert self._keys is not None
        recipients = self._keys.recipients_at(take.pressed_at)
        try:
            writing = await self._threads(
                self.card.begin,
                take.recording,
                boot=self._boot.bytes,
                recipients=recipients,
                checkpoint=self._state.now.checkpoint,
            )
        except (CardFull, CardBroken) as cause:
            self._mishaps += 1
            await self._card_failed(take, cause)
            why = take.stopped.reason if take.stopped else StopReason.INTERRUPTED
            nothing = Closed(recording=take.recording, segments=0, ended_at=take.pressed_at, reason=why)
            await self._tell_stopped(nothing)
            return
        opening: list[Plain] = [_opening(take)]
        while opening or take.waiting or take.stopped is None:
            batch, take.waiting = take.waiting, []
            if batch or opening:
                try:
                    await self._threads(writing.append, [*opening, *self._rendered(take, batch)])
                except (CardFull, CardBroken) as cause:
                    take.waiting = []
                    await self._card_failed(take, cause)
                    break
                opening = []
            else:
                take.news.clear()
                await take.news.wait()
        assert take.stopped is not None
        try:
            closed = await self._threads(writing.finish, reason=take.stopped.reason, ended_at=take.stopped.stopped_at)
        except (CardFull, CardBroken) as cause:
            self._mishaps += 1
            await self._tell_tamper(f"recording {take.recording} is closed in the bay or at the next boot: {cause}")
            return
        await self._tell_stopped(closed)
        await self._mind_the_room()

    def _rendered(self, take: _Take, batch: list[tuple[Held, Flag]]) -> list[Plain]:
        if batch and take.first < 0:
            take.first = batch[0][0].counter
        return [
            Plain(
                plaintext=held.template.render(
                    second=held.counter - take.first,
                    camera=self.id,
                    starts_at=held.starts_at,
                    counter=held.counter,
                ),
                kind=Kind.VIDEO,
                flags=flags,
                starts_at=held.starts_at,
                ends_at=held.ends_at,
                monotonic_us=held.monotonic_us,
            )
            for held, flags in batch
        ]

    async def _card_failed(self, take: _Take, cause: CardFull | CardBroken) -> None:
        LOG.error("%s: %s", self.id, cause)
        full = isinstance(cause, CardFull)
        if self._take is take:
            await self.happen(Happening.CARD_FULL if full else Happening.CARD_BROKEN)
        if take.stopped is None:
            reason = StopReason.CARD_FULL if full else StopReason.INTERRUPTED
            take.stop(StopRecording(reason=reason, stopped_at=self._clock(), at_once=True))

    async def _mind_the_room(self) -> None:
        low = self.card.free_pct < LOW_STORAGE_PCT
        if low and not self._low_storage_said:
            await self.link.tell(LowStorage(card_free_pct=self.card.free_pct))
        self._low_storage_said = low

    # --- in the bay ---------------------------------------------------------------------------------------------

    async def _wiping(self) -> None:
        while True:
            await asyncio.sleep(WIPE_LOOK_S)
            if self.phase is Phase.DOCKED and not self.busy:
                try:
                    await self._tidy()
                    self._card_sick_said = False
                except OSError as cause:
                    if not self._card_sick_said:
                        self._card_sick_said = True
                        await self._tell_tamper(f"the memory card failed in the bay, and is tried again: {cause}")

    async def _tidy(self) -> None:
        """Everything that is done in a bay; raise OSError when card or memory fail: all of it can be done again."""
        if self._seen_to < self._mishaps:
            mishaps, found = self._mishaps, await self._threads(self.card.recover, now=self._clock())
            await self._tell_found(found, mishaps)
        await self._take_keys()
        await self._wipe()
        await self._renew_certificate()

    async def _renew_certificate(self) -> None:
        """Two thirds into its life a new certificate is asked for, through the dock; the next connection uses it."""
        why = await self._threads(self._certificate.renew)
        if why is not None:
            await self._tell_tamper(f"a certificate was refused: {why}")

    async def _wipe(self) -> None:
        outcome = await self._threads(self.card.wipe_receipted)
        for name, why in outcome.refused:
            await self._tell_tamper(f"receipt {name} was refused: {why}")
        newest = max(outcome.receipts, key=lambda each: each.ledger_size, default=None)
        if newest is not None and newest.ledger_size >= self._state.now.checkpoint_size:
            await self._threads(
                self._state.change, checkpoint_size=newest.ledger_size, checkpoint_root=newest.ledger_root
            )
        if outcome.receipts:
            self._low_storage_said = False
            self.link.tell_state()

    async def _take_keys(self) -> None:
        """Take over a newer key list from the dock, if the Kluis signed it."""
        raw = await self._threads(self.card.dock_says)
        if raw is None or raw == self._keys_seen:
            return
        self._keys_seen = raw
        try:
            offered = read_keylist(signed_list(raw), public_key(self._enrolment.kluis_key))
        except Refused as cause:
            await self._tell_tamper(f"the dock offered a key list that is refused: {cause}")
            return
        if offered.org != self._enrolment.org:
            await self._tell_tamper(f"the dock offered a key list of {offered.org}")
        elif self._keys is None or offered.issued_at > self._keys.issued_at:
            await self._threads(self._state.change, keylist=signed_list(raw).decode())
            self._keys = offered

    _keys_seen: bytes | None = None

    # --- battery, and what it says of itself --------------------------------------------------------------------

    async def _watching(self) -> None:
        while True:
            await self._pulse.sleep(BATTERY_LOOK_S, at_least_wall_s=FAST_TICK_S)
            self._read_battery()
            if not self._films_now:
                await self._clock_moved()
            if self._battery <= 0 and self.phase not in (Phase.OFF, Phase.DOCKED):
                await self.happen(Happening.BATTERY_EMPTY)

    def _read_battery(self) -> None:
        now = self._pulse()
        passed, self._battery_read = now - self._battery_read, now
        match self.phase:
            case Phase.OFF:
                change = 0.0
            case Phase.DOCKED:
                change = 100 * passed / CHARGING_TAKES_S
            case Phase.STANDBY:
                change = -100 * passed / STANDBY_LASTS_S
            case Phase.RECORDING | Phase.POST_RECORD:
                change = -100 * passed / RECORDING_LASTS_S
        self._battery = min(100.0, max(0.0, self._battery + change))

    def drain_to(self, pct: float) -> None:
        """Let the battery have this much, in a simulation that does not begin with full ones."""
        self._battery = pct

    def _says_state(self) -> CameraState:
        settings = self.settings
        recording = keeps_footage(self.phase)
        docked = self.phase is Phase.DOCKED
        return CameraState(
            status=_STATUS[self.phase],
            boot=str(self._boot),
            buffering=buffers(self.phase, settings) and self._film is not None,  # without a picture there is nothing
            battery_pct=round(self._battery),
            card_free_pct=self.card.free_pct,
            settings_version=settings.version if settings else 0,
            recording=self._take.recording if recording and self._take else None,
            dock=self.bay.dock if docked and self.bay else None,
            bay=self.bay.number if docked and self.bay else None,
        )

    def _says_telemetry(self) -> Telemetry:
        warm = 6.0 if keeps_footage(self.phase) else 0.0
        return Telemetry(
            battery_pct=round(self._battery),
            card_free_pct=self.card.free_pct,
            temperature_c=24.0 + warm + self._number % 5,
            clock_offset_ms=0,
        )


_STATUS: Final[dict[Phase, Literal["standby", "recording", "docked", "off"]]] = {
    Phase.OFF: "off",
    Phase.STANDBY: "standby",
    Phase.RECORDING: "recording",
    Phase.POST_RECORD: "recording",
    Phase.DOCKED: "docked",
}


def signed_list(raw: bytes) -> bytes:
    """Return the signed key list in what a dock put on the card: the list itself, or `keylist` beside other things."""
    try:
        offered = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return raw
    return bytes(offered["keylist"]) if "keylist" in offered and "signature" not in offered else raw


def _flags(held: Held, take: _Take) -> Flag:
    return (Flag.PRE_RECORD if held.starts_at < take.pressed_at else Flag.NONE) | (
        Flag.GAP_BEFORE if held.gap_before else Flag.NONE
    )


def _opening(take: _Take) -> Plain:
    """Segment 0: the initialisation segment alone, at the moment the footage begins."""
    first = take.waiting[0][0] if take.waiting else None
    at = first.starts_at if first else take.pressed_at
    return Plain(
        plaintext=take.init,
        kind=Kind.VIDEO,
        flags=Flag.NONE,
        starts_at=at,
        ends_at=at,
        monotonic_us=first.monotonic_us if first else 0,
    )


__all__ = ["Device", "Enrolment", "FootageProblem", "Held", "signed_list"]

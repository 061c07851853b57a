"""Footage that our own cameras did not seal: sealed at the door in the same format, then a recording like any other.

What another maker's system delivers is kept byte for byte, as segments of kind FILE, under a signing key of the door
that exists for that one camera. The signature therefore says *this came in by this door then*, not *this camera made
it*. The key goes to the Kluis like every other, so that rooms, hand-over, holds, terms and destruction are the same.

The order on the way in: sealed as it comes -> whole, synced -> its row committed -> acknowledged. When its
container is complete (or has been quiet for long enough): the chain closed -> in the vault -> its key in the Kluis ->
the recording's row, decided on in the same transaction -> the ledger -> the spool emptied. Each step may be repeated,
and is, after a crash.

A container is one recording, in whatever order its files came, side by side or at the second attempt. Only what came
after a restart of ours (a chain's keys are forgotten as it grows, so nobody can go on with it), after the container was
complete, or as another version of a file is a recording of its own, of the same container.
"""

import asyncio
import hashlib
import logging
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn
from weakref import WeakValueDictionary

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Row, and_, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.clock import Clock
from broker.wire.ids import DeviceId, Org, RecordingId, camera_key_id, parse_recording, tenant_id, uuid7
from broker.wire.keylist import read_keylist
from broker.wire.policy import Policy, Via
from broker.wire.recording import (
    SEGMENT_HEADER_BYTES,
    Checkpoint,
    Flag,
    Kind,
    Recipient,
    Sealer,
    SegmentFacts,
    check_chain,
    close_interrupted,
    read_end,
    read_head,
    read_segment_ends,
    segment_digest,
)
from broker.wire.refusals import Code, Refused, refuse
from cloud.database.engine import Database, finish
from cloud.database.tables import (
    cameras,
    denials,
    officials,
    outside_containers,
    outside_objects,
    outside_parts,
    recordings,
    segments,
)
from cloud.intake.circumstances import look_around
from cloud.intake.recordings import SETTLED, Custody, Hub, Policies
from cloud.intake.spool import PIECE_BYTES, Chain, Draft, Spool, Sums, Tally
from cloud.ledger.log import Entry, Ledger, LedgerUnwritable
from cloud.ledger.once import Once
from cloud.rules import admission as rules
from cloud.vault.store import Vault

LOG: Final = logging.getLogger(__name__)

REGISTERED: Final = "outside"
"""State in the register of a camera of another maker: known here, and never on our broker."""

PLACEHOLDER: Final = "unknown"
"""State in the register of a camera that delivered before anybody named it."""

QUIET: Final = timedelta(hours=24)
"""After so long without a file, a container that nobody completed is closed as it is: nothing may wait outside the
terms of retention. Longer than a shift, and than a dock that is off for a night."""

LONGEST_AWAY: Final = timedelta(days=366)
"""Footage that claims to be older when it arrives was made by a clock that had lost its time: its term counts from its
arrival, because a clock of 1970 must not destroy it at the door."""

LOOKS_EVERY_S: Final = 5.0
_CAMERA_LABEL: Final = b"vier-ogen/outside/camera/v1\0"
_NOT_IN_A_SLUG: Final = re.compile(r"[^a-z0-9]+")
_ROWS_AT_ONCE: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """One file of a container, as it was handed over."""

    name: str
    version: int
    letter: Mapping[str, str]
    sums: Sums
    first: int
    last: int
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A container and the files of one of its parts: what a door must understand."""

    container: str
    letter: Mapping[str, str]
    complete: bool
    opened_at: datetime
    files: tuple[Handed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a door makes of a delivery. Times are the sender's; `doubt` keeps it apart, with that reason."""

    camera: str  # the maker's name for it: a serial number, a folder
    camera_known: bool
    dock: str | None
    official: str | None
    started_at: datetime
    activated_at: datetime | None
    ended_at: datetime
    encrypted: bool
    deviations: tuple[str, ...] = ()
    doubt: str | None = None


Describe = Callable[[Delivered, bool], Told]
"""Reads a delivery; the flag says whether the register knows its camera."""


@dataclass(slots=True, kw_only=True)
class Door:
    """One way in from outside: its word in a policy, how to name a delivery's camera, and how to read it."""

    via: Via
    camera_of: Callable[[str, Mapping[str, str]], str]  # container, letter -> the maker's name for the camera
    describe: Describe
    quiet: Callable[[str], timedelta] = field(default=lambda _: QUIET)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """What is known of a file before it came."""

    container: str
    name: str
    letter: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime


class Arriving:
    """One file on its way in. Whatever leaves the block without `keep` leaves nothing behind."""

    def __init__(self, outside: "Outside", file: "_File", draft: Draft) -> None:
        self.outside, self.file, self.draft = outside, file, draft
        self._tally = Tally()
        self._gathered = bytearray()

    async def write(self, data: bytes) -> None:
        """Take the next bytes; raise Refused (DISK_FULL, UNAVAILABLE)."""
        self._gathered += data
        while len(self._gathered) >= PIECE_BYTES:
            await self._pass_on()

    async def seal(self, plaintext: bytes, *, kind: Kind, starts_at: datetime, ends_at: datetime) -> None:
        """Add a segment that is no piece of the file: a rendition beside it. Only with an `opening`."""
        sealing = asyncio.to_thread(self.draft.seal, plaintext, kind=kind, starts_at=starts_at, ends_at=ends_at)
        await finish(sealing)

    async def sums(self) -> Sums:
        """Take what is left, and return what the whole file is."""
        await self._pass_on()
        return self._tally.sums()

    async def keep(self) -> Sums:
        """Make the file durable and known. The same bytes under the same name again change nothing."""
        sums = await self.sums()
        await finish(self.outside._keep(self, sums))  # noqa: SLF001 - two halves of one act
        return sums

    async def _pass_on(self) -> None:
        data = bytes(self._gathered[:PIECE_BYTES])
        del self._gathered[:PIECE_BYTES]
        if data:
            await finish(asyncio.to_thread(self._take, data))

    def _take(self, data: bytes) -> None:
        self._tally.add(data)
        self.draft.add(data)


class Outside:
    """What came from outside, of one municipality. Use `open`; `run` must run beside it."""

    def __init__(
        self,
        *,
        org: Org,
        database: Database,
        vault: Vault,
        kluis: Custody,
        kluis_key: Ed25519PublicKey,
        ledger: Ledger,
        policies: Policies,
        clock: Clock,
        hub: Hub,
        key: Ed25519PrivateKey,
        spool: Spool,
        doors: Sequence[Door],
    ) -> None:
        self._org, self._database, self._vault, self._clock = org, database, vault, clock
        self._kluis, self._kluis_key, self._ledger = kluis, kluis_key, ledger
        self._once = Once(ledger)
        self._policies, self._hub, self._key, self._spool = policies, hub, key, spool
        self._doors = {door.via: door for door in doors}
        self._boot = secrets.token_bytes(16)
        self._chains: dict[str, list[Chain]] = {}  # by container: those that may go on
        self._coming: Counter[str] = Counter()
        self._stir = asyncio.Event()
        self._settling = asyncio.Lock()
        self._denied: set[tuple[str, str]] = set()
        self._keeping: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    async def open(cls, folder: Path, **means: Any) -> "Outside":
        """Take the spool in `folder` (made where it is not there), and close what a crash left open."""
        outside = cls(spool=await asyncio.to_thread(Spool, folder), **means)
        await outside._recover()
        return outside

    # --- the door -------------------------------------------------------------------------------------------------

    async def guard(self, via: Via, *, who: str, size: int = 0) -> None:
        """Raise Refused: NOT_ALLOWED where the policy keeps this door shut (it is remembered), DISK_FULL."""
        policy = await self._policies.of(self._org, self._clock())
        if via not in policy.ingest.via:
            refused = refuse(
                Code.NOT_ALLOWED, "footage", expected=f"a policy that takes footage by way of {via}", got="one without"
            )
            if (via, who) not in self._denied:  # once in the life of this process: whoever tries cannot fill the disk
                self._denied.add((via, who))
                row = {"org": self._org, "at": self._clock(), "who": who[:40], "what": f"ingest.{via}"}
                async with self._database.transaction() as t:
                    await t.execute(insert(denials).values(**row, why=str(refused)))
            raise refused
        self._vault.guard_space(2 * size)  # in the spool, and in the vault

    async def container(self, name: str, *, via: Via | None = None) -> Row[Any]:
        """Return it; raise Refused (NOT_FOUND), also for one that came by another door than `via`."""
        async with self._database.transaction() as t:
            row = (await t.execute(select(outside_containers).where(self._is(name)))).one_or_none()
        if row is None or (via is not None and row.via != via):
            raise refuse(Code.NOT_FOUND, "container", expected="one that was made by this door", got=name)
        return row

    async def put_container(self, name: str, letter: Mapping[str, str], *, via: Via) -> bool:
        """Make it, or add to its letter (an empty value takes a key away). Return whether it is new.

        Raise Refused (NOT_ALLOWED) for a name of another door.
        """
        now = self._clock()
        async with self._database.transaction() as t:
            row = (await t.execute(select(outside_containers).where(self._is(name)))).one_or_none()
            if row is None:
                values = {"org": self._org, "name": name, "via": via, "letter": _merged({}, letter), "state": "open"}
                await t.execute(insert(outside_containers).values(**values, opened_at=now, touched_at=now))
                return True
            if row.via != via:
                raise refuse(Code.NOT_ALLOWED, "container", expected=f"one of {via}", got=f"one of {row.via}")
            merged = _merged(row.letter, letter)
            if merged != row.letter:
                await t.execute(update(outside_containers).where(self._is(name)).values(letter=merged, touched_at=now))
        return False

    async def complete(self, name: str) -> None:
        """Nothing more is expected. What is here becomes a recording soon after; what still comes is late."""
        async with self._database.transaction() as t:
            await t.execute(
                update(outside_containers)
                .where(self._is(name), outside_containers.c.state == "open")
                .values(state="complete", completed_at=self._clock())
            )
        self._stir.set()

    async def file(self, container: str, name: str) -> Row[Any] | None:
        """Return the newest version of a file, or None."""
        query = select(outside_objects).where(self._file(container, name))
        async with self._database.transaction() as t:
            return (await t.execute(query.order_by(outside_objects.c.version.desc()).limit(1))).one_or_none()

    async def known_content(self, sha256: str, *, via: Via) -> bool:
        """Whether a file with this content came in by this door before, destroyed since or not."""
        query = (
            select(outside_objects.c.sha256)
            .join(
                outside_containers,
                and_(
                    outside_containers.c.org == outside_objects.c.org,
                    outside_containers.c.name == outside_objects.c.container,
                ),
            )
            .where(
                outside_objects.c.org == self._org,
                outside_objects.c.sha256 == sha256,
                outside_containers.c.via == via,
                outside_objects.c.recording.is_not(None),
            )
        )
        async with self._database.transaction() as t:
            return (await t.execute(query.limit(1))).first() is not None

    async def put_letter(self, container: str, name: str, letter: Mapping[str, str]) -> None:
        """Keep metadata without content: a user, a device, a system. A later one replaces it."""
        values = {"letter": dict(letter), "received_at": self._clock()}
        nothing = Sums(
            sha256=hashlib.sha256().hexdigest(),
            md5=hashlib.md5(usedforsecurity=False).hexdigest(),
            size_bytes=0,
            signed_video=None,
        )
        async with self._database.transaction() as t:
            done = await t.execute(update(outside_objects).where(self._file(container, name)).values(**values))
            if done.rowcount == 0:
                row = {"org": self._org, "container": container, "name": name, "version": 1, **_of(nothing), **values}
                await t.execute(insert(outside_objects).values(row))

    async def replace_letter(self, container: str, name: str, letter: Mapping[str, str]) -> bool:
        """Replace the metadata of a file's newest version; return False when there is no such file.

        What was sealed with the file at its arrival stays what it was.
        """
        row = await self.file(container, name)
        if row is None:
            return False
        async with self._database.transaction() as t:
            await t.execute(
                update(outside_objects)
                .where(self._file(container, name), outside_objects.c.version == row.version)
                .values(letter=dict(letter))
            )
        return True

    @asynccontextmanager
    async def arriving(
        self,
        container: str,
        name: str,
        letter: Mapping[str, str],
        *,
        starts_at: datetime,
        ends_at: datetime,
        opening: tuple[Kind, bytes] | None = None,
    ) -> AsyncIterator[Arriving]:
        """Take in one file; `async with`, `write`, `keep`. Raise Refused: NOT_FOUND for the container, UNAVAILABLE.

        `opening` is segment 0 of a recording that is made of this file alone: what a player must read first.
        """
        there = await self.container(container)
        await self._recipients()  # nobody sends for hours what cannot be sealed then
        file = _File(container=container, name=name, letter=letter, starts_at=starts_at, ends_at=ends_at)
        self._coming[container] += 1
        try:
            async with self._turn(container):
                alone = _doubt(there, await self._versions(container, name)) != ""
                chain = await self._chain(there, alone=alone, opening=opening)
            draft = await asyncio.to_thread(Draft, self._spool, chain, starts_at=starts_at, ends_at=ends_at)
            try:
                yield Arriving(self, file, draft)
            finally:
                await finish(asyncio.to_thread(draft.close))
        finally:
            self._coming -= Counter({container: 1})  # forgets who comes no more
            self._stir.set()

    async def register(self, camera: DeviceId, *, via: Via, known: bool) -> None:
        """Enter a camera of another maker where it is new, first in the ledger; raise LedgerUnwritable.

        `known`: somebody named it. Else it is a placeholder, and what it delivers is kept apart.
        """
        public = self.signing_key(camera).public_key().public_bytes_raw()
        at_most = REGISTERED if known else PLACEHOLDER
        async with self._database.transaction() as t:
            state = (
                await t.execute(select(cameras.c.state).where(cameras.c.org == self._org, cameras.c.id == camera))
            ).scalar_one_or_none()
        if state is None:
            key_id = camera_key_id(public)
            facts = {"reason": at_most, "public_key": public.hex(), "key_id": key_id.hex()}
            now = self._clock()
            row = {"org": self._org, "id": camera, "public_key": public, "key_id": key_id, "enrolled_at": now}
            async with (
                self._once.entered("camera.enrolled", subject=camera, actor=f"svc-{via}", at=now, facts=facts),
                self._database.transaction() as t,
            ):
                await t.execute(insert(cameras).values(**row, state=at_most, reason=via))
        elif known and state == PLACEHOLDER:
            async with self._database.transaction() as t:
                await t.execute(
                    update(cameras).where(cameras.c.org == self._org, cameras.c.id == camera).values(state=REGISTERED)
                )

    def signing_key(self, camera: DeviceId) -> Ed25519PrivateKey:
        """Return the key with which this door signs what came from this camera; the same one each time."""
        info = _CAMERA_LABEL + camera.encode()
        seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._key.private_bytes_raw())
        return Ed25519PrivateKey.from_private_bytes(seed)

    # --- what becomes of it -----------------------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Make recordings of what is complete, for as long as the process lives."""
        while True:
            self._stir.clear()
            try:
                await self.settle()
            except (Refused, LedgerUnwritable, SQLAlchemyError, OSError) as cause:
                LOG.warning("outside[%s]: it waits, and is tried again: %s", self._org, cause)
            try:
                async with asyncio.timeout(LOOKS_EVERY_S):
                    await self._stir.wait()
            except TimeoutError:
                continue

    async def settle(self) -> int:
        """Close what is complete or quiet, and make recordings of it; return how many. Raises what stopped the last."""
        async with self._settling:
            await self._close_what_is_over()
            await self._readmit_named()
            query = select(outside_parts.c.recording).where(
                outside_parts.c.org == self._org, outside_parts.c.state.in_(("closed", "written"))
            )
            async with self._database.transaction() as t:
                waiting = list((await t.execute(query.order_by(outside_parts.c.opened_at))).scalars())
            done, trouble = 0, None
            for recording in waiting:
                try:
                    await self._adopt(parse_recording(recording))
                    done += 1
                except (Refused, LedgerUnwritable) as cause:
                    LOG.warning("outside[%s]: recording %s waits: %s", self._org, recording, cause)
                    trouble = cause
            if trouble is not None:
                raise trouble
            return done

    async def _keep(self, arriving: Arriving, sums: Sums) -> None:
        file, draft = arriving.file, arriving.draft
        async with self._turn(file.container):
            there, versions = await self.container(file.container), await self._versions(file.container, file.name)
            if any(row.sha256 == sums.sha256 for row in versions):
                return  # a retry of what is here: this copy of it goes
            doubt = _doubt(there, versions)
            chain = draft.chain if draft.chain.alone else await self._chain(there, alone=doubt != "")
            chain.doubt = doubt
            await self._name(draft, chain, file, sums, via=there.via, version=len(versions) + 1)

    def _turn(self, container: str) -> asyncio.Lock:
        """Return what lets one file of a container at a time be named, or find its chain."""
        return self._keeping.setdefault(container, asyncio.Lock())

    async def _name(self, draft: Draft, chain: Chain, file: _File, sums: Sums, *, via: str, version: int) -> None:
        """Make a sealed file durable, and a row of it: from here on it counts."""
        now = self._clock()
        letter = {
            "container": chain.container,
            "name": file.name,
            "version": version,
            **_of(sums),
            "letter": dict(file.letter),
            "received_at": now.isoformat(),
        }
        last = await asyncio.to_thread(draft.keep, msgspec.json.encode(letter), into=chain)
        row = {
            "org": self._org,
            "container": chain.container,
            "name": file.name,
            "version": version,
            "recording": str(chain.recording),
            "first": draft.first,
            "last": last,
            "received_at": now,
            "letter": dict(file.letter),
            **_of(sums),
        }
        part = {
            "recording": str(chain.recording),
            "org": self._org,
            "container": chain.container,
            "via": via,
            "camera": chain.camera,
            "state": "open",
            "doubt": chain.doubt,
            "head": chain.head,
            "opened_at": now,
        }
        async with self._database.transaction() as t:
            mine = outside_parts.c.recording == str(chain.recording)
            if (await t.execute(select(outside_parts.c.state).where(mine))).one_or_none() is None:
                await t.execute(insert(outside_parts).values(part))
            await t.execute(insert(outside_objects).values(row))
            await t.execute(update(outside_containers).where(self._is(chain.container)).values(touched_at=now))
        draft.entered()

    async def _versions(self, container: str, name: str) -> Sequence[Row[Any]]:
        async with self._database.transaction() as t:
            return (await t.execute(select(outside_objects).where(self._file(container, name)))).all()

    async def _chain(self, there: Row[Any], *, alone: bool = False, opening: tuple[Kind, bytes] | None = None) -> Chain:
        """Return the container's own chain, or a new one; in its turn. One with an opening is for one file."""
        alone = alone or opening is not None
        chains = [] if alone else self._chains.get(there.name, [])
        usable = [each for each in chains if not (each.broken or each.alone)]
        if usable:
            return usable[0]
        now = self._clock()
        via = Via(there.via)
        camera = camera_id(self._doors[via].camera_of(there.name, there.letter), via)
        known = self._ledger.checkpoint()
        recording = RecordingId(uuid7(now, secrets.token_bytes(10)))
        head, sealer = Sealer.start(
            tenant=tenant_id(self._org),
            signing_key=self.signing_key(camera),
            recording=recording,
            boot=self._boot,
            data_key=secrets.token_bytes(32),
            recipients=await self._recipients(),
            checkpoint=Checkpoint(size=known.size, root=known.root),
        )
        told = {"container": there.name, "via": there.via, "camera": camera, "letter": there.letter}
        opening_kind, first = opening or (Kind.LETTER, msgspec.json.encode(told))
        chain = Chain(
            recording=recording,
            container=there.name,
            camera=camera,
            head=head,
            sealer=sealer,
            alone=alone,
            opening=first,
            opening_kind=opening_kind,
        )
        self._chains.setdefault(there.name, []).append(chain)
        return chain

    async def _recipients(self) -> tuple[Recipient, ...]:
        """Return to whom is sealed now; raise Refused where the Kluis does not say."""
        return read_keylist(await self._kluis.keylist(), self._kluis_key).recipients_at(self._clock())

    async def _close_what_is_over(self) -> None:
        now = self._clock()
        query = select(outside_parts, outside_containers.c.state.label("container_state")).join(
            outside_containers,
            and_(
                outside_containers.c.org == outside_parts.c.org,
                outside_containers.c.name == outside_parts.c.container,
            ),
        )
        query = query.where(outside_parts.c.org == self._org, outside_parts.c.state == "open")
        async with self._database.transaction() as t:
            parts = (await t.execute(query.add_columns(outside_containers.c.touched_at))).all()
        for part in parts:
            quiet = now - part.touched_at >= self._doors[Via(part.via)].quiet(part.container)
            over = part.container_state == "complete"
            chains = self._chains.get(part.container, [])
            chain = next((each for each in chains if str(each.recording) == part.recording), None)
            if chain is None or self._turn(part.container).locked() or (self._coming[part.container] and not over):
                continue  # a file is on its way into it
            if chain.broken or chain.alone or over or quiet:
                chains.remove(chain)
                try:
                    await self._close(part, None if chain.broken else chain)
                except BaseException:
                    self._chains.setdefault(part.container, []).append(chain)
                    raise
        await self._forget_unused({part.recording for part in parts})

    async def _forget_unused(self, known: set[str]) -> None:
        """Take away chains of which nobody was ever told, once no file is on its way into them."""
        unused = []
        for container in [each for each in self._chains if not self._coming[each]]:
            chains = self._chains.pop(container)
            unused += [each for each in chains if not each.files and str(each.recording) not in known]
            if kept := [each for each in chains if each not in unused]:
                self._chains[container] = kept
        for chain in unused:
            await asyncio.to_thread(self._spool.clear, chain.recording)

    async def _close(self, part: Row[Any], chain: Chain | None) -> None:
        """Write the end: with the list of all files where the chain went on undisturbed, else as it stands."""
        delivered = await self._delivered(part)
        now = self._clock()
        if chain is not None:
            end = await asyncio.to_thread(self._finish, chain, delivered, now)
        else:
            await asyncio.to_thread(self._spool.keep_only, part.recording, delivered.files[-1].last)
            ends = await asyncio.to_thread(self._spool.ends, part.recording)
            key = self.signing_key(DeviceId(part.camera))
            end = close_interrupted(head=part.head, tails=tuple(ends), signing_key=key, ended_at=now)
        async with self._database.transaction() as t:
            await t.execute(
                update(outside_parts)
                .where(outside_parts.c.recording == part.recording, outside_parts.c.state == "open")
                .values(state="closed", end=end)
            )

    def _finish(self, chain: Chain, delivered: Delivered, now: datetime) -> bytes:
        manifest = {
            "container": delivered.container,
            "letter": dict(delivered.letter),
            "complete": delivered.complete,
            "files": [
                {"name": each.name, "version": each.version, "first": each.first, "last": each.last}
                | {"sha256": each.sums.sha256, "size_bytes": each.sums.size_bytes, "letter": dict(each.letter)}
                for each in delivered.files
            ],
        }
        draft = Draft(self._spool, chain, starts_at=now, ends_at=now)
        try:
            draft.keep(msgspec.json.encode(manifest), into=chain, flags=Flag.LAST)
            return draft.finish(ended_at=now)
        finally:
            draft.close()

    async def _delivered(self, part: Row[Any]) -> Delivered:
        there = await self.container(part.container)
        query = select(outside_objects).where(outside_objects.c.recording == part.recording)
        async with self._database.transaction() as t:
            rows = (await t.execute(query.order_by(outside_objects.c.first))).all()
        return Delivered(
            container=there.name,
            letter=there.letter,
            complete=there.state == "complete",
            opened_at=there.opened_at,
            files=tuple(
                Handed(
                    name=row.name,
                    version=row.version,
                    letter=row.letter,
                    sums=Sums(sha256=row.sha256, md5=row.md5, size_bytes=row.size_bytes, signed_video=row.signed_video),
                    first=row.first,
                    last=row.last,
                    received_at=row.received_at,
                )
                for row in rows
            ),
        )

    async def _adopt(self, recording: RecordingId) -> None:
        """Make a recording of a closed part. Every step may be repeated."""
        query = select(outside_parts).where(outside_parts.c.recording == str(recording))
        async with self._database.transaction() as t:
            part = (await t.execute(query)).one()
        via = Via(part.via)
        door = self._doors[via]
        if part.state == "closed":
            delivered = await self._delivered(part)
            camera = DeviceId(part.camera)
            told = door.describe(delivered, await self._knows(camera))

            # 1. the camera in the register, 2. the bytes in the vault, 3. the key in custody
            await self.register(camera, via=via, known=told.camera_known)
            public = self.signing_key(camera).public_key()
            await self._move(recording)
            try:
                await self._kluis.intake(part.head, camera_public_key=public.public_bytes_raw(), end=part.end)
                key_gone = False
            except Refused as refused:
                if refused.refusal.code is not Code.NOT_FOUND:
                    raise
                key_gone = True  # it waited here for longer than the week's key lives

            # 4. decided and written down
            policy = await self._policies.of(self._org, told.started_at)
            row = await self._write(part, delivered, told, camera, public, policy, key_gone=key_gone)
            self._tell(row)

        # 5. the ledger, and nothing left in the spool
        async with self._database.transaction() as t:
            written = (await t.execute(select(recordings).where(recordings.c.id == str(recording)))).one()
        settled = written.state in SETTLED
        entering = nullcontext() if settled else self._entered(written, await self._delivered(part))
        async with entering, self._database.transaction() as t:
            await t.execute(
                update(outside_parts).where(outside_parts.c.recording == str(recording)).values(state="told")
            )
        await asyncio.to_thread(self._spool.clear, recording)

    async def _knows(self, camera: DeviceId) -> bool:
        query = select(cameras.c.state).where(cameras.c.org == self._org, cameras.c.id == camera)
        async with self._database.transaction() as t:
            return (await t.execute(query)).scalar_one_or_none() == REGISTERED

    async def _move(self, recording: RecordingId) -> None:
        """Put every sealed segment in the vault; those that are there already are left as they are."""
        rest = iter(self._spool.segments(recording))
        while (raw := await asyncio.to_thread(next, rest, None)) is not None:
            digest = segment_digest(raw)
            (missing,) = await self._vault.missing([digest])
            if missing:
                async with self._vault.receive(digest, size=len(raw)) as incoming:
                    await incoming.write(raw)
                    await incoming.keep(_as_sealed_here)

    async def _write(
        self,
        part: Row[Any],
        delivered: Delivered,
        told: Told,
        camera: DeviceId,
        public: Ed25519PublicKey,
        policy: Policy,
        *,
        key_gone: bool,
    ) -> dict[str, Any]:
        head, end = read_head(part.head, public), read_end(part.end, public)
        ends = await asyncio.to_thread(self._spool.ends, part.recording)
        facts = tuple(read_segment_ends(raw[:SEGMENT_HEADER_BYTES], raw[SEGMENT_HEADER_BYTES:], public) for raw in ends)
        chain = check_chain(head, facts, end)
        async with self._database.transaction() as t:
            row = {
                "id": part.recording,
                "org": self._org,
                "camera": camera,
                "segments": end.segments,
                "total_bytes": end.total_bytes,
                "chain": chain.state.value,
                "stop_reason": end.stop_reason.name.lower(),
                "head_sha256": head.sha256.hex(),
                "last_hash": end.last_hash.hex(),
                "end_record": part.end,
                "dock": told.dock,
                "via": part.via,
                "received_at": max(each.received_at for each in delivered.files),
                **await self._decide(t, part, delivered, told, policy, chain=chain.state.value, key_gone=key_gone),
            }
            there = (await t.execute(select(recordings.c.state).where(recordings.c.id == part.recording))).first()
            if there is None:
                await t.execute(insert(recordings).values(row))
                lines = [_line(part.recording, each) for each in facts]
                for start in range(0, len(lines), _ROWS_AT_ONCE):
                    await t.execute(insert(segments), lines[start : start + _ROWS_AT_ONCE])
            await t.execute(
                update(outside_parts).where(outside_parts.c.recording == part.recording).values(state="written")
            )
        return row

    async def _decide(
        self,
        t: AsyncConnection,
        part: Row[Any],
        delivered: Delivered,
        told: Told,
        policy: Policy,
        *,
        chain: str,
        key_gone: bool,
    ) -> dict[str, Any]:
        """Return the columns of a recording that say what becomes of it, on what is true in this transaction."""
        now, recording = self._clock(), parse_recording(part.recording)
        started_at, ended_at, wrong_clock = _believed(told, max(each.received_at for each in delivered.files))
        activated_at = None if told.activated_at is None else min(max(told.activated_at, started_at), ended_at)
        pre_record_s = 0.0 if activated_at is None else (activated_at - started_at).total_seconds()
        around = await look_around(
            t, recording, org=self._org, camera=part.camera, dock=told.dock or "", at=started_at, now=now
        )
        incoming = rules.Incoming(
            recording=recording,
            via=_word(Via(part.via)),
            camera_enrolled=told.camera_known,
            dock_enrolled=True,  # the door knew the sender by its credentials
            chain=rules.ChainState(chain),
            activation_known=activated_at is not None,
            activated_at=activated_at,
            started_at=started_at,
            ended_at=ended_at,
            pre_record_s=pre_record_s,
            open_holds=around.open_holds,
            clock_offset_s=LONGEST_AWAY.total_seconds() if wrong_clock else 0.0,
            encrypted=told.encrypted,
            on_duty=around.on_duty,
        )
        admission = rules.admit(incoming, policy=policy, now=now)
        state, reason = _settled(admission, told.doubt or rules.DEVIATIONS.get(part.doubt, (None,))[0], key_gone)
        extra = [*([part.doubt] if part.doubt else []), *(["key_gone"] if key_gone else [])]
        return {
            "official": await self._official(t, told.official) or around.official,
            "incident": around.incident,
            "policy_version": policy.policy.version,
            "state": state,
            "reason": reason,
            "started_at": started_at,
            "activated_at": activated_at,
            "ended_at": ended_at,
            "expires_at": admission.expires_at,
            "pre_record_s": pre_record_s,
            "deviations": [*admission.deviations, *told.deviations, *extra],
        }

    async def _readmit_named(self) -> None:
        """Decide again on what was put apart for want of its camera's name, now that somebody named it."""
        query = (
            select(outside_parts, recordings.c.chain, recordings.c.deviations, recordings.c.started_at)
            .join(recordings, recordings.c.id == outside_parts.c.recording)
            .join(cameras, and_(cameras.c.org == recordings.c.org, cameras.c.id == recordings.c.camera))
            .where(
                outside_parts.c.org == self._org,
                outside_parts.c.state == "told",
                recordings.c.state == "quarantined",
                recordings.c.reason == rules.NOT_ENROLLED,
                cameras.c.state == REGISTERED,
            )
        )
        async with self._database.transaction() as t:
            parts = (await t.execute(query)).all()
        for part in parts:
            await self._readmit(part)

    async def _readmit(self, part: Row[Any]) -> None:
        """Decide again; where that changes the state, the ledger hears of it as of an arrival."""
        delivered = await self._delivered(part)
        told = self._doors[Via(part.via)].describe(delivered, True)
        policy = await self._policies.of(self._org, part.started_at)
        key_gone = "key_gone" in part.deviations
        async with self._database.transaction() as t:
            mine = recordings.c.id == part.recording
            decided = await self._decide(t, part, delivered, told, policy, chain=part.chain, key_gone=key_gone)
            if decided["state"] == "due":  # its term is over: the clock takes it from where it lies
                decided["state"] = "quarantined"
            done = await t.execute(update(recordings).where(mine, recordings.c.state == "quarantined").values(decided))
            if done.rowcount and decided["state"] != "quarantined":
                again = update(outside_parts).where(outside_parts.c.recording == part.recording)
                await t.execute(again.values(state="written"))
                row = (await t.execute(select(recordings).where(mine))).one()
                self._tell(row._asdict())

    async def _official(self, t: AsyncConnection, named: str | None) -> str | None:
        query = select(officials.c.id).where(officials.c.org == self._org, officials.c.id == (named or ""))
        return (await t.execute(query)).scalar_one_or_none()

    def _entered(self, row: Row[Any], delivered: Delivered) -> AbstractAsyncContextManager[Entry]:
        kind = row.state if row.state in {"quarantined", "restricted"} else "received"
        facts: dict[str, Any] = {
            "camera": row.camera,
            "via": row.via,
            "state": row.state,
            "chain": row.chain,
            "segments": row.segments,
            "total_bytes": row.total_bytes,
            "head_sha256": row.head_sha256,
            "last_hash": row.last_hash,
            "policy_version": row.policy_version,
            "deviations": list(row.deviations),
            "files": [each.sums.sha256 for each in delivered.files],
            "signed_video_found": sorted({each.sums.signed_video for each in delivered.files} - {None}, key=str),
        }
        if kind != "received":
            facts["reason"] = row.reason
        return self._once.entered(
            f"recording.{kind}", subject=row.id, actor=f"svc-{row.via}", at=self._clock(), facts=facts
        )

    def _tell(self, row: Mapping[str, Any]) -> None:
        activated_at = row["activated_at"]
        data = {"recording": row["id"], "camera": row["camera"], "state": row["state"]}
        self._hub.publish(
            self._org,
            "recording",
            {**data, "activated_at": None if activated_at is None else activated_at.isoformat()},
        )

    async def _recover(self) -> None:
        """Close what was open when the process ended, and forget what nobody was told of."""
        async with self._database.transaction() as t:
            parts = (await t.execute(select(outside_parts).where(outside_parts.c.org == self._org))).all()
        there = {part.recording: part for part in parts}
        for recording in await asyncio.to_thread(self._spool.recordings):
            part = there.get(recording)
            if part is None or part.state == "told":
                await asyncio.to_thread(self._spool.clear, recording)
            elif part.state == "open":
                await self._close(part, None)

    def _is(self, container: str) -> Any:
        return and_(outside_containers.c.org == self._org, outside_containers.c.name == container)

    def _file(self, container: str, name: str) -> Any:
        objects = outside_objects.c
        return and_(objects.org == self._org, objects.container == container, objects.name == name)


def camera_id(named: str, via: Via) -> DeviceId:
    """Return the register's id of another maker's camera: the door's word and the maker's name for it."""
    slug = _NOT_IN_A_SLUG.sub("-", named.lower()).strip("-") or "unknown"
    most = 40 - len(via) - 1
    if len(slug) > most:
        slug = f"{slug[: most - 9].strip('-')}-{hashlib.sha256(named.encode()).hexdigest()[:8]}"
    return DeviceId(f"{via}-{slug}")


def _doubt(there: Row[Any], versions: Sequence[Row[Any]]) -> str:
    """Return why a file is kept apart from its container's others, or nothing."""
    return "another_version" if versions else "late_addition" if there.state == "complete" else ""


def _believed(told: Told, received_at: datetime) -> tuple[datetime, datetime, bool]:
    """Return (started, ended, whether the clock was wrong): nothing ended after it arrived, or before any camera."""
    wrong = not received_at - LONGEST_AWAY <= told.ended_at <= received_at + timedelta(minutes=5)
    length = max(told.ended_at - told.started_at, timedelta())
    ended_at = received_at if wrong else min(told.ended_at, received_at)
    return ended_at - min(length, LONGEST_AWAY), ended_at, wrong


def _settled(admission: rules.Admission, doubt: str | None, key_gone: bool) -> tuple[str, str]:
    """Return (state, reason) of what the rules admitted: what was acknowledged never drops out of sight."""
    state, reason = admission.state.value, admission.because
    if admission.state is rules.AdmissionState.REFUSED:
        state = "quarantined"  # it was let in under the policy of that day
    elif admission.state not in (rules.AdmissionState.DUE, rules.AdmissionState.QUARANTINED) and doubt:
        state, reason = "quarantined", doubt
    if key_gone and state != "due":
        state, reason = "quarantined", "the key to which it was sealed is destroyed"
    return state, reason


def _line(recording: str, each: SegmentFacts) -> dict[str, Any]:
    return {
        "recording": recording,
        "sequence": each.sequence,
        "digest": each.digest.hex(),
        "ciphertext_bytes": each.ciphertext_bytes,
        "starts_at": each.starts_at,
        "ends_at": each.ends_at,
        "flags": int(each.flags),
        "kind": int(each.kind),
    }


def _word(via: Via) -> Any:
    return via.value


def _merged(letter: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in {**letter, **more}.items() if value != ""}


def _of(sums: Sums) -> dict[str, Any]:
    return {
        "sha256": sums.sha256,
        "md5": sums.md5,
        "size_bytes": sums.size_bytes,
        "signed_video": sums.signed_video,
    }


def _as_sealed_here(_header: bytes, _tail: bytes, _ciphertext_sha256: bytes) -> None:
    """We sealed it a moment ago; the vault has compared the digest."""

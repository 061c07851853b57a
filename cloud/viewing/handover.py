"""Handing footage over: the package that a stranger checks without us.

Two people sign the request, as for a viewing; the Kluis releases; the package is written; the ledger says that exactly
this package goes out, and only then does it exist under its name. It holds footage in the clear: it lies in a folder of
the desk's own for a quarter of an hour at most, is fetched once, and is encrypted for its recipient by who sends it.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import rfc8785
from sqlalchemy import select

from broker.clock import Clock
from broker.wire.approvals import request_sha256
from broker.wire.bundle import CAPTIONS, PLAN, BundleWriter, Part, ProvenEntry, Release
from broker.wire.captions import captions
from broker.wire.content_key import content_info
from broker.wire.entries import read_entry
from broker.wire.ids import parse_org, parse_recording
from broker.wire.policy import Copy, Policy
from broker.wire.recording import Kind, open_segment
from broker.wire.refusals import Code, refuse
from broker.wire.statements import Place
from broker.wire.tlog import read_proof, verifier_key
from cloud.casework.cases import Case
from cloud.database.engine import Database
from cloud.database.tables import derivatives, outside_objects, recordings, segments
from cloud.kluis.client import KluisClient
from cloud.ledger.finding import entries_of
from cloud.ledger.log import Ledger
from cloud.redaction.take_home import TakenHome, readme
from cloud.rules.rights import DATA_SUBJECT
from cloud.rules.verdicts import Verdict
from cloud.viewing.handed_over import Handed
from cloud.viewing.key_keeper import KeyKeeper
from cloud.viewing.reels import Reel
from cloud.viewing.rooms import Room, Rooms, Wish
from cloud.viewing.rules.handing_over import judge_going, judge_packing, what_goes

FETCHED_WITHIN_S: Final = 900.0
"""How long a package waits: as long as the signatures under it count."""

LOOKS_EVERY_S: Final = 15.0

_ARRIVED: Final = ("recording.received", "recording.quarantined", "recording.restricted")
_NEEDED: Final = (*_ARRIVED, "recording.admitted", "camera.enrolled")


class Disclosures(Protocol):
    """What a hand-over asks of casework."""

    async def case(self, org: str, case: str) -> Case:
        """Return the case."""

    async def disclosure(self, org: str, disclosure: str) -> Any:
        """Return the hand-over's record, or raise Refused (NOT_FOUND)."""

    async def deliver_disclosure(self, org: str, disclosure: str, *, by: str, package_sha256: str) -> Any:
        """Write in the ledger that this package goes out, and return the entry."""


class Ends(Protocol):
    """What a hand-over asks of the vault: to read."""

    async def read(self, digest: bytes) -> bytes:
        """Return one whole segment, still encrypted."""

    async def read_all_ends(self, digests: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Return header and tail of many segments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package that went out, as far as we are concerned."""

    disclosure: str
    path: Path
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packing:
    """One package while it is written."""

    writer: BundleWriter
    room: Room
    keeper: KeyKeeper
    proofs: Mapping[tuple[str, str], ProvenEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """What the register says of one recording. `segments`: those of a known kind; bytes that do not verify have none,
    and stay behind.
    """

    segments: Sequence[Any]
    files: Sequence[Any]
    end: bytes | None
    plan: Mapping[str, Any] | None


class _Sealed:
    """The segments of one recording, read one by one. The first two block, for another thread than the loop's."""

    def __init__(
        self, vault: Ends, digests: Mapping[int, bytes], keys: Mapping[int, bytes], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._vault, self._digests, self._keys, self._loop = vault, digests, keys, loop

    def read(self, sequence: int) -> bytes:
        """Return a segment, still encrypted."""
        return asyncio.run_coroutine_threadsafe(self._vault.read(self._digests[sequence]), self._loop).result()

    def opened(self, sequence: int) -> bytes:
        """Return what a segment holds."""
        return open_segment(self.read(sequence), self._keys[sequence])

    async def opened_soon(self, sequence: int) -> bytes:
        """Return it without blocking."""
        raw = await self._vault.read(self._digests[sequence])
        return await asyncio.to_thread(open_segment, raw, self._keys[sequence])


class HandOvers:
    """Makes packages. Nothing here decides who may: casework, the rooms and the Kluis do, each by itself."""

    def __init__(
        self,
        *,
        org: str,
        database: Database,
        ledger: Ledger,
        kluis: KluisClient,
        vault: Ends,
        casework: Disclosures,
        rooms: Rooms,
        folder: Path,
        clock: Clock,
        name: str = "",
        place: Place | None = None,
    ) -> None:
        """`name`: the municipality's, for who gets a copy."""
        self._name, self._clock = name or org, clock
        self._org, self._database, self._ledger, self._kluis = org, database, ledger, kluis
        self._vault, self._casework, self._rooms, self._folder, self._place = vault, casework, rooms, folder, place
        self._made_s: dict[str, float] = {}

    async def ask(self, disclosure: str, *, requester: str, second: str | None, reason: str, policy: Policy) -> Room:
        """Write down the request for an approved hand-over, ready to be signed; raise Refused."""
        row = await self._casework.disclosure(self._org, disclosure)
        _allowed(judge_going(row.state))
        case = await self._casework.case(self._org, row.case_id)
        wish = Wish(
            case=case.id,
            purpose=purpose_of(policy, case),
            ranges=dict.fromkeys(row.recordings),
            reason=reason,
            requester=requester,
            second=second,
            hand_over=disclosure,
        )
        return await self._rooms.draft(wish)

    async def pack(self, room: Room, *, by: str) -> Package:
        """Release, write and deliver; once keys were released the room is over, however it went. Raises Refused."""
        if room.hand_over is None:
            raise refuse(Code.CONFLICT, "hand-over", expected="a request for one", got="a viewing")
        row = await self._casework.disclosure(self._org, room.hand_over)
        _allowed(judge_going(row.state))
        _allowed(judge_packing(row.recordings, in_room=[reel.recording for reel in room.reels]))
        unfinished = self._folder / f"{room.hand_over}.part"
        keeper = await self._rooms.release_for_hand_over(room)
        try:
            return await self._write(room, keeper, by=by, unfinished=unfinished)
        finally:
            await asyncio.to_thread(unfinished.unlink, missing_ok=True)
            await self._rooms.end(room, actor=by, why="handed over")

    def find(self, disclosure: str) -> Path | None:
        """Return where the package lies, until it was fetched."""
        path = self._path(disclosure)
        return path if path.exists() else None

    def take(self, disclosure: str) -> BinaryIO:
        """Return the package, open, and remove its name: it is fetched once. Blocks; raise Refused (NOT_FOUND).

        It may be hundreds of megabytes: whoever sends it reads it piece by piece, and closes it.
        """
        path = self._path(disclosure)
        with ExitStack() as unless_taken:
            try:
                package = unless_taken.enter_context(path.open("rb"))
                path.unlink()  # of two at once one takes it
            except FileNotFoundError as cause:
                raise refuse(Code.NOT_FOUND, "package", expected="one that was not fetched", got="none") from cause
            unless_taken.pop_all()
        return package

    async def run(self) -> None:
        """Remove what an earlier life left, and then whatever nobody fetched in time, until cancelled."""
        await asyncio.to_thread(self._forget_all)
        while True:
            await asyncio.sleep(LOOKS_EVERY_S)
            now_s = asyncio.get_running_loop().time()
            for disclosure, made_s in list(self._made_s.items()):
                if now_s - made_s > FETCHED_WITHIN_S:
                    del self._made_s[disclosure]
                    await asyncio.to_thread(self._path(disclosure).unlink, missing_ok=True)

    def _forget_all(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            path.unlink()

    async def _write(self, room: Room, keeper: KeyKeeper, *, by: str, unfinished: Path) -> Package:
        public, documents = await self._kluis.public(), await self._kluis.documents()
        proofs = await self._entries_about(room)
        row = await self._casework.disclosure(self._org, str(room.hand_over))
        with await asyncio.to_thread(_new_file, unfinished) as target:
            writer = BundleWriter(
                target,
                org=parse_org(self._org),
                ledger_key=verifier_key(self._ledger.origin, self._ledger.key),
                kluis_key=public.signing_key,
                place=self._place,
            )
            packing = _Packing(writer=writer, room=room, keeper=keeper, proofs=proofs)
            films = [await self._add(packing, reel) for reel in room.reels]
            if row.recipient == DATA_SUBJECT:
                writer.add_readme(
                    readme(
                        [film for film in films if film is not None],
                        municipality=self._name,
                        case=room.case.number,
                        given_at=self._clock(),
                        disclosure=str(room.hand_over),
                    )
                )
            writer.add_release(_release(room, documents.roster))
            newest = self._ledger.checkpoint()
            growth = {size: await self._ledger.prove_growth(size, newest.size) for size in writer.sizes}
            writer.add_ledger(checkpoint=newest.note, growth=growth)
            digest = (await asyncio.to_thread(writer.finish)).hex()
            entry = await self._casework.deliver_disclosure(
                self._org, str(room.hand_over), by=by, package_sha256=digest
            )
            size = read_tree_size(entry.proof)
            writer.close(
                ProvenEntry(entry=entry.raw, proof=entry.proof),
                growth=await self._ledger.prove_growth(newest.size, size),
            )
            await asyncio.to_thread(_sync, target)
        path = self._path(str(room.hand_over))
        await asyncio.to_thread(unfinished.rename, path)
        self._made_s[str(room.hand_over)] = asyncio.get_running_loop().time()
        return Package(disclosure=str(room.hand_over), path=path, manifest_sha256=digest)

    async def _add(self, packing: "_Packing", reel: Reel) -> TakenHome | None:
        """Write one recording; return what its film is, where people were made unrecognisable in it."""
        lines = await self._lines(reel.recording)
        part = Part(recording=parse_recording(reel.recording), first=reel.first, last=reel.last)
        goes = what_goes(
            {each.sequence: each.kind for each in lines.segments}, part=part, declared=reel.declared, plan=lines.plan
        )
        head, keys = packing.keeper.take(reel.recording)
        digests = {each.sequence: bytes.fromhex(each.digest) for each in lines.segments}
        ends = await self._vault.read_all_ends(list(digests.values()))
        sealed = _Sealed(self._vault, digests, keys, asyncio.get_running_loop())
        handed = Handed([each for each in lines.segments if each.sequence in goes.whole], lines.files)

        async def open_key(sequence: int, wrapped: bytes) -> bytes:
            return await self._content_key(packing, reel, await self._vault.read(digests[sequence]), wrapped)

        await handed.unlock(sealed.opened_soon, open_key)
        told = _told(lines.plan) if goes.told else []
        received = packing.proofs.get(("received", reel.recording))
        await asyncio.to_thread(
            lambda: packing.writer.add_recording(
                part=part,
                head=head,
                ends=[header + tail for header, tail in ends],
                end=lines.end,
                segments=map(sealed.read, goes.whole),
                keys={each: keys[each] for each in goes.whole},
                enrolled=packing.proofs.get(("camera.enrolled", reel.camera)),
                received=received,
                admitted=packing.proofs.get(("recording.admitted", reel.recording)) if goes.admitted else None,
                footage=map(sealed.opened, goes.filmed) if goes.filmed else None,
                handed=chain(handed.items(sealed.opened), told),
            )
        )
        if not told or received is None:
            return None
        return TakenHome(
            recording=reel.recording,
            started_at=reel.pieces[0].starts_at,
            facts=read_entry(received.entry).facts,
            captions=dict(told)[CAPTIONS],
        )

    async def _lines(self, recording: str) -> "_Lines":
        """Return what the register says of a recording."""
        known = select(segments).where(segments.c.recording == recording, segments.c.kind.in_(sorted(Kind)))
        files = select(outside_objects.c.name, outside_objects.c.first, outside_objects.c.last)
        async with self._database.transaction() as t:
            end = (await t.execute(select(recordings.c.end_record).where(recordings.c.id == recording))).scalar_one()
            plan = await t.execute(select(derivatives.c.plan).where(derivatives.c.recording == recording))
            return _Lines(
                segments=(await t.execute(known.order_by(segments.c.sequence))).all(),
                files=(await t.execute(files.where(outside_objects.c.recording == recording))).all(),
                end=bytes(end) if end else None,
                plan=plan.scalar_one_or_none(),
            )

    async def _content_key(self, packing: "_Packing", reel: Reel, segment: bytes, wrapped: bytes) -> bytes:
        """Return the key of the clip whose key file is this segment; raise Refused."""
        room = packing.room
        sealed = await self._kluis.content_key(
            room.raw, journal_index=room.journal_index, camera_public_key=reel.camera_public_key, segment=segment
        )
        return packing.keeper.unseal(sealed, info=content_info(request_sha256(room.raw), wrapped))

    async def _entries_about(self, room: Room) -> dict[tuple[str, str], ProvenEntry]:
        """Return the ledger's entries of enrolment and arrival, with proofs. Reads the whole ledger once."""
        wanted = {reel.recording for reel in room.reels} | {reel.camera for reel in room.reels}
        keys = {reel.camera: reel.camera_public_key.hex() for reel in room.reels}
        found: dict[tuple[str, str], ProvenEntry] = {}
        async for index, raw, entry in entries_of(self._ledger.read, self._ledger.checkpoint().size, _NEEDED):
            if entry.subject not in wanted:
                continue
            if entry.kind == "camera.enrolled" and entry.facts.get("public_key") != keys[entry.subject]:
                continue  # an earlier life of this camera, with another key
            name = ("received" if entry.kind in _ARRIVED else entry.kind, entry.subject)
            found[name] = ProvenEntry(entry=raw, proof=await self._ledger.prove(index))
        return found

    def _path(self, disclosure: str) -> Path:
        return self._folder / f"{disclosure}.zip"


def purpose_of(policy: Policy, case: Case) -> str:
    """Return the purpose under which footage of this kind of case may leave; raise Refused (NOT_ALLOWED)."""
    for name, purpose in policy.purposes.items():
        if case.kind in purpose.case_kinds and purpose.copy is not Copy.NO_COPY:
            return name
    raise refuse(Code.NOT_ALLOWED, "hand-over", expected="a case whose footage may leave", got=case.kind.value)


def _allowed(verdict: Verdict) -> None:
    if not verdict:
        raise refuse(Code.CONFLICT, "hand-over", expected="what was approved, once", got=verdict.because)


def _told(plan: Mapping[str, Any] | None) -> list[tuple[str, bytes]]:
    """Return the plan by which a film was made, and the captions that tell it."""
    raw = rfc8785.dumps(dict(plan or {}))
    return [(PLAN, raw), (CAPTIONS, captions(raw))]


def _release(room: Room, roster: bytes) -> Release:
    proven = [ProvenEntry(entry=each.raw, proof=each.proof) for each in room.entries]
    released = room.released
    return Release(
        request=room.raw,
        statements=tuple(room.statements),
        roster=roster,
        requested=proven[0],
        approved=proven[1] if len(proven) > 1 else None,
        released=ProvenEntry(entry=released.raw, proof=released.proof) if released else None,
    )


def read_tree_size(proof: bytes) -> int:
    """Return the size of the tree that this proof of our own ledger speaks of."""
    return int(read_proof(proof).checkpoint.split(b"\n", 2)[1])


def _new_file(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b")


def _sync(target: BinaryIO) -> None:
    target.flush()
    os.fsync(target.fileno())

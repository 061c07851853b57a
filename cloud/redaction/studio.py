"""Making people unrecognisable, inside an open room: search, edit, preview, and make the derivative.

Nothing here sees a picture. It passes sealed segments to the room's process and gets numbers, pictures that are hidden
already, or sealed segments back. The work of a case on a recording stays in this process until it is finished: a room
that closes loses nothing but its keys, a restart loses the edits.

Order of making: the ledger says what will be made by which plan -> each second hidden and sealed in the process ->
in the vault -> its key in the Kluis -> the rows -> the ledger says that it is here. The original is only read.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Row, insert, select
from sqlalchemy.exc import SQLAlchemyError

from broker.clock import Clock
from broker.wire.ids import camera_key_id, parse_org, tenant_id, uuid7
from broker.wire.keylist import read_keylist
from broker.wire.recording import (
    ChainState,
    SegmentFacts,
    check_chain,
    read_end,
    read_head,
    read_segment,
    segment_digest,
)
from broker.wire.refusals import Code, Refused, refuse
from cloud.casework.holding import recompute_state
from cloud.database.engine import Database
from cloud.database.tables import cameras, case_subjects, derivatives, recordings, segments
from cloud.kluis.client import KluisClient
from cloud.ledger.log import Ledger
from cloud.redaction.messages import Begin
from cloud.redaction.projector import RedactionProjector
from cloud.redaction.rules.plan import (
    Draw,
    Edit,
    Plan,
    Review,
    Span,
    cut_of,
    cut_sha256,
    edited,
    judge_finish,
    plan_sha256,
    review,
    with_followed,
    with_found,
)
from cloud.redaction.rules.tracks import Box, Hit, Key, link
from cloud.rules.apart import DECLARED
from cloud.vault.store import Vault
from cloud.viewing.rooms import Piece, Reel, Room, Rooms
from cloud.viewing.rules.lifecycle import RoomState

LOG: Final = logging.getLogger(__name__)

VIA: Final = "redaction"
"""How a derivative came in, in the register and in the ledger."""

FOLLOWED_S: Final = 30.0
"""How far a box that was drawn by hand is followed in one go."""

WAITS_S: Final = 0.5
"""How often work that waits for somebody to come back looks again."""

_UNSEARCHED: Final = "-"


class Doing(StrEnum):
    """What the process is busy with."""

    NOTHING = "nothing"
    SEARCHING = "searching"
    MAKING = "making"


class _Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Somebody pressed stop."""


class Hub(Protocol):
    """Where browsers hear that something changed."""

    def publish(self, org: str, kind: str, data: dict[str, Any]) -> int:
        """Say it; return its number."""


@dataclass(kw_only=True)
class Work:
    """The work of one case on one recording.

    `seen`: of each segment, the cut with which it was last given to a preview. A player fetches six seconds ahead of
    what it shows: that far somebody may be credited with what they did not look at.
    """

    plan: Plan
    starts: Mapping[int, float]
    lengths: Mapping[int, float]
    doing: Doing = Doing.NOTHING
    done: int = 0
    of: int = 0
    searched: bool = False
    version: int = 0
    stopping: bool = False
    problem: str = ""
    made: str = ""
    made_in: str = ""
    seen: dict[int, bytes] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    def change(self, plan: Plan) -> None:
        """Take a new plan."""
        self.plan, self.version = plan, self.version + 1

    def looked(self) -> tuple[Span, ...]:
        """Return the stretches that were seen exactly as the plan is now."""
        found = []
        for sequence, begin in self.starts.items():
            end = begin + self.lengths[sequence]
            if self.seen.get(sequence) == cut_sha256(cut_of(self.plan, begin, end)):
                found.append(Span(from_s=begin, until_s=end))
        return tuple(found)

    def review(self) -> Review:
        """Return what still must be looked at."""
        return review(self.plan, self.looked())


class Redactions:
    """Every piece of work of one municipality."""

    def __init__(
        self,
        *,
        org: str,
        database: Database,
        ledger: Ledger,
        kluis: KluisClient,
        vault: Vault,
        rooms: Rooms,
        clock: Clock,
        hub: Hub,
    ) -> None:
        self._org, self._database, self._ledger, self._kluis = org, database, ledger, kluis
        self._vault, self._rooms, self._clock, self._hub = vault, rooms, clock, hub
        self._works: dict[tuple[str, str], Work] = {}

    # --- the work -------------------------------------------------------------------------------------------------

    def of(self, room: Room) -> Work:
        """Return the work of this room's case on its recording, begun before or new; raise Refused (NOT_FOUND)."""
        if not room.redacts:
            raise refuse(Code.NOT_FOUND, "redaction", expected="a room for it", got="a viewing")
        reel = room.reels[0]
        name = (room.request.case, reel.recording)
        work = self._works.get(name)
        if work is None or (work.made and work.made_in != room.id):
            work = self._works[name] = _new_work(reel)
        return work

    def search(self, room: Room) -> None:
        """Begin to look for faces, in the background; raise Refused (CONFLICT)."""
        work = self.of(room)
        self._begin(room, work, Doing.SEARCHING, lambda: self._search(room, work))

    async def stop(self, room: Room) -> None:
        """Stop looking or making. What was found so far is kept; what was made so far is not."""
        work = self.of(room)
        if work.task is not None and not work.task.done():
            work.stopping = True  # between two orders: a half-read answer would be taken for the next one's
            await asyncio.wait([work.task])

    def edit(self, room: Room, edit: Edit) -> Work:
        """Change the plan; raise Refused (CONFLICT while it is being made, NOT_FOUND, MALFORMED)."""
        work = self._idle(room)
        work.change(edited(work.plan, edit))
        return work

    async def follow(self, room: Room, drawn: Draw) -> Work:
        """Draw a box and follow what is in it, until it is lost or for half a minute; raise Refused."""
        work, projector = self._idle(room), self._projector(room)
        keys, box, lost = list[Key](), drawn.box, False
        for piece in room.reels[0].pieces:
            begin = work.starts[piece.sequence]
            if begin + piece.length_s <= drawn.from_s or begin > drawn.from_s + FOLLOWED_S or lost:
                continue
            raw = await self._vault.read(piece.digest)
            self._open(room)
            went = await projector.follow(
                room.reels[0].recording, raw, from_s=begin, at_s=max(drawn.from_s, begin), box=box
            )
            keys += went.keys
            lost = went.lost or not went.keys
            box = Box(*keys[-1][1:]) if keys else box
        work = self._idle(room)  # somebody may have begun something meanwhile
        work.change(with_followed(work.plan, drawn, keys))
        return work

    async def preview(self, room: Room, official: str, *, token: str, sequence: int | None, proof: str) -> bytes:
        """Return one second as it will be made; the room asks for each whether it may be shown. Raises Refused."""
        work, recording = self.of(room), room.reels[0].recording

        async def make(piece: Piece, raw: bytes, mark: tuple[str, ...]) -> bytes:
            begin = work.starts[piece.sequence]
            cut = cut_of(work.plan, begin, begin + piece.length_s)
            media = await self._projector(room).preview(recording, raw, from_s=begin, cut=cut, mark=mark)
            work.seen[piece.sequence] = cut_sha256(cut)
            return media

        return await self._rooms.show(
            room, official, token=token, recording=recording, sequence=sequence, proof=proof, make=make
        )

    def make(self, room: Room, *, by: str) -> None:
        """Begin to make the derivative, in the background; raise Refused (NOT_ALLOWED, CONFLICT)."""
        work = self._idle(room)
        self._open(room)
        if by != room.request.requester:
            raise refuse(Code.NOT_ALLOWED, "derivative", expected="whoever asked for the room", got=by)
        if not work.searched:
            raise refuse(
                Code.NOT_ALLOWED, "derivative", expected="a recording that was searched", got="one that was not"
            )
        verdict = judge_finish(work.plan, work.looked())
        if not verdict:
            raise refuse(Code.NOT_ALLOWED, "derivative", expected="a plan that is ready", got=verdict.because)
        self._begin(room, work, Doing.MAKING, lambda: self._make(room, work, by=by))

    async def made_of(self, recording: str) -> Row[Any] | None:
        """Return of what a recording was made and how, or None when it was filmed."""
        query = select(derivatives).where(derivatives.c.org == self._org, derivatives.c.recording == recording)
        async with self._database.transaction() as t:
            return (await t.execute(query)).one_or_none()

    async def close(self) -> None:
        """Stop everything."""
        tasks = [work.task for work in self._works.values() if work.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- in the background ----------------------------------------------------------------------------------------

    def _begin(self, room: Room, work: Work, doing: Doing, task: Callable[[], Awaitable[None]]) -> None:
        self._idle(room)
        self._open(room)
        work.doing, work.done, work.of, work.problem, work.stopping = doing, 0, len(room.reels[0].pieces), "", False
        work.task = asyncio.create_task(self._run(room, work, task), name=f"cloud.redaction.{doing}")

    async def _run(self, room: Room, work: Work, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except _Stopped:
            LOG.info("redaction: %s in room %s was stopped", work.doing, room.id)
        except Refused as refused:
            LOG.warning("redaction: %s in room %s: %s", work.doing, room.id, refused)
            work.problem = str(refused)
        except (SQLAlchemyError, OSError) as cause:
            LOG.exception("redaction: %s in room %s", work.doing, room.id)
            work.problem = str(refuse(Code.UNAVAILABLE, "redaction", expected="to go on", got=type(cause).__name__))
        finally:
            work.doing = Doing.NOTHING
            work.version += 1
            self._hub.publish(self._org, "redaction", {"room": room.id})

    async def _search(self, room: Room, work: Work) -> None:
        hits, detector = list[Hit](), work.plan.detector
        try:
            for piece, raw in self._each(room, work):
                found = await self._projector(room).find(
                    room.reels[0].recording, await raw(), from_s=work.starts[piece.sequence]
                )
                hits += found.hits
                detector = found.detector
                work.done += 1
            work.searched = True
        finally:
            tracks = await asyncio.to_thread(link, hits)
            work.change(with_found(work.plan, tracks, detector=detector))

    async def _make(self, room: Room, work: Work, *, by: str) -> None:
        plan, looked_s, reel = work.plan, work.review().looked_s, room.reels[0]
        projector, now = self._projector(room), self._clock()
        derivative = str(uuid7(now, secrets.token_bytes(10)))
        facts = {
            "derivative": derivative, "case": room.request.case, "room": room.id, "plan_sha256": plan_sha256(plan),
            "detector": plan.detector, "first": plan.first, "last": plan.last, "looked_s": looked_s,
        }  # fmt: skip
        await self._ledger.append("redaction.made", subject=reel.recording, actor=by, at=now, facts=facts)
        begun = await projector.begin(await self._order(reel, derivative))
        made = _Made(derivative=derivative, head=begun.head, public_key=begun.public_key)
        await self._keep(made, begun.first)
        for piece, raw in self._each(room, work):
            begin = work.starts[piece.sequence]
            cut = cut_of(plan, begin, begin + piece.length_s)
            await self._keep(made, await projector.hide(reel.recording, await raw(), from_s=begin, cut=cut))
            work.done += 1
        finished = await projector.finish(ended_at=reel.pieces[-1].ends_at)
        made.end, made.film_sha256 = finished.end, finished.film_sha256.hex()
        await asyncio.shield(self._register(room, made, plan, looked_s=looked_s, by=by))
        work.made, work.made_in = derivative, room.id

    def _each(self, room: Room, work: Work) -> list[tuple[Piece, Callable[[], Awaitable[bytes]]]]:
        """Return the pieces, each with what reads it: only while the room is open, and waiting while it is paused."""

        def reading(piece: Piece) -> Callable[[], Awaitable[bytes]]:
            async def read() -> bytes:
                while room.state is RoomState.PAUSED and not work.stopping:  # noqa: ASYNC110 - a room's state has no event
                    await asyncio.sleep(WAITS_S)
                if work.stopping:
                    raise _Stopped
                self._open(room)
                return await self._vault.read(piece.digest)

            return read

        return [(piece, reading(piece)) for piece in room.reels[0].pieces]

    # --- making ---------------------------------------------------------------------------------------------------

    async def _order(self, reel: Reel, derivative: str) -> Begin:
        public, checkpoint = await self._kluis.public(), self._ledger.checkpoint()
        listed = read_keylist(await self._kluis.keylist(), Ed25519PublicKey.from_public_bytes(public.signing_key))
        return Begin(
            recording=reel.recording,
            derivative=derivative,
            tenant=tenant_id(parse_org(self._org)),
            recipients=tuple((each.key_id, each.public_key) for each in listed.recipients_at(self._clock())),
            tree_size=checkpoint.size,
            root=checkpoint.root,
            begins_at=reel.pieces[0].starts_at,
        )

    async def _keep(self, made: "_Made", raw: bytes) -> None:
        digest = segment_digest(raw)
        async with self._vault.receive(digest, size=len(raw)) as incoming:
            await incoming.write(raw)
            await incoming.keep(lambda _header, _tail, _digest: None)  # sealed a moment ago, by our own process
        facts = await asyncio.to_thread(read_segment, raw, Ed25519PublicKey.from_public_bytes(made.public_key))
        made.facts.append(facts)
        made.lines.append(
            {
                "recording": made.derivative,
                "sequence": facts.sequence,
                "digest": digest.hex(),
                "ciphertext_bytes": facts.ciphertext_bytes,
                "starts_at": facts.starts_at,
                "ends_at": facts.ends_at,
                "flags": int(facts.flags),
                "kind": int(facts.kind),
            }
        )

    async def _register(self, room: Room, made: "_Made", plan: Plan, *, looked_s: float, by: str) -> None:
        """Give its key into custody, write it down, and say in the ledger that it is here."""
        now, reel, key = self._clock(), room.reels[0], Ed25519PublicKey.from_public_bytes(made.public_key)
        camera = f"onherkenbaar-{made.derivative[-12:]}"
        await self._ledger.append(
            "camera.enrolled", subject=camera, actor=by, at=now,
            facts={"public_key": made.public_key.hex(), "state": VIA, "derivative": made.derivative},
        )  # fmt: skip
        await self._kluis.intake(made.head, camera_public_key=made.public_key, end=made.end)
        head, end = read_head(made.head, key), read_end(made.end, key)
        async with self._database.transaction() as t:
            original = (await t.execute(select(recordings).where(recordings.c.id == reel.recording))).one()
            if original.state in ("destroying", "destroyed"):
                raise refuse(Code.DESTROYED, "original", expected="one that is kept", got=original.state)
            await t.execute(
                insert(cameras).values(
                    org=self._org, id=camera, public_key=made.public_key, key_id=camera_key_id(made.public_key),
                    state="outside", enrolled_at=now, reason=VIA,
                )
            )  # fmt: skip
            row = {
                "id": made.derivative, "org": self._org, "camera": camera, "policy_version": original.policy_version,
                "state": "retained", "reason": "made unrecognisable", "started_at": reel.pieces[0].starts_at,
                "activated_at": original.activated_at, "ended_at": original.ended_at, "expires_at": original.expires_at,
                "pre_record_s": sum(piece.length_s for piece in reel.pieces if piece.pre_record),
                "segments": end.segments, "total_bytes": end.total_bytes, "chain": made.chain(key).value,
                "stop_reason": end.stop_reason.name.lower(), "head_sha256": head.sha256.hex(),
                "last_hash": end.last_hash.hex(), "end_record": made.end, "via": VIA, "received_at": now,
                "deviations": [each for each in original.deviations if each == DECLARED],
            }  # fmt: skip
            await t.execute(insert(recordings).values(row))
            await t.execute(insert(segments), made.lines)
            await t.execute(
                insert(derivatives).values(
                    recording=made.derivative, org=self._org, original=reel.recording, case_id=room.request.case,
                    room=room.id, made_by=by, made_at=now, detector=plan.detector, plan=msgspec.to_builtins(plan),
                    plan_sha256=plan_sha256(plan), film_sha256=made.film_sha256, length_s=plan.length_s,
                    looked_s=looked_s,
                )
            )  # fmt: skip
            await t.execute(insert(case_subjects).values(case_id=room.request.case, recording=made.derivative))
            await recompute_state(t, self._org, made.derivative, now=now, because="made for a case that is held")
        await self._tell(room, row, plan, made, looked_s=looked_s, by=by)

    async def _tell(
        self, room: Room, row: Mapping[str, Any], plan: Plan, made: "_Made", *, looked_s: float, by: str
    ) -> None:
        facts = {name: row[name] for name in _TOLD} | {
            "derivative_of": plan.recording,
            "first": plan.first,
            "last": plan.last,
            "case": room.request.case,
            "room": room.id,
            "plan_sha256": plan_sha256(plan),
            "film_sha256": made.film_sha256,
            "detector": plan.detector,
            "length_s": plan.length_s,
            "looked_s": looked_s,
        }
        await self._ledger.append(
            "recording.received", subject=made.derivative, actor=by, at=self._clock(), facts=facts
        )
        self._hub.publish(self._org, "recording", {"recording": made.derivative, "state": row["state"]})
        self._hub.publish(self._org, "case", {"case": room.request.case, "derivative": made.derivative})

    # --- asked of each ----------------------------------------------------------------------------------------------

    def _idle(self, room: Room) -> Work:
        work = self.of(room)
        if work.doing is not Doing.NOTHING:
            raise refuse(Code.CONFLICT, "redaction", expected="nothing under way", got=work.doing.value)
        return work

    def _open(self, room: Room) -> None:
        if room.state is not RoomState.OPEN:
            raise refuse(Code.NOT_ALLOWED, "redaction", expected="an open room", got=room.state.value)

    def _projector(self, room: Room) -> RedactionProjector:
        if not isinstance(room.projector, RedactionProjector):
            raise refuse(Code.NOT_FOUND, "redaction", expected="a room for it", got="a viewing")
        return room.projector


_TOLD: Final = (
    "camera", "via", "state", "chain", "segments", "total_bytes", "head_sha256", "last_hash", "policy_version",
    "deviations",
)  # fmt: skip


@dataclass(kw_only=True)
class _Made:
    """A derivative on its way into the house."""

    derivative: str
    head: bytes
    public_key: bytes
    end: bytes = b""
    film_sha256: str = ""
    facts: list[SegmentFacts] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)

    def chain(self, key: Ed25519PublicKey) -> ChainState:
        """Return what the segments say together, as anybody else would judge them."""
        return check_chain(read_head(self.head, key), tuple(self.facts), read_end(self.end, key)).state


def _new_work(reel: Reel) -> Work:
    starts, at_s = dict[int, float](), 0.0
    for piece in reel.pieces:
        starts[piece.sequence] = round(at_s, 5)
        at_s += piece.length_s
    plan = Plan(
        recording=reel.recording,
        first=reel.first,
        last=reel.last,
        length_s=round(at_s, 3),
        detector=_UNSEARCHED,
    )
    return Work(plan=plan, starts=starts, lengths={piece.sequence: piece.length_s for piece in reel.pieces})

"""What is made unrecognisable in one recording: the plan that two people make, one edit at a time, and its hash.

A plan holds numbers only, never a picture. It is written down with the derivative it led to, so that anybody can see
afterwards what was hidden, what was left, and who decided.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import rfc8785

from broker.wire.refusals import Code, refuse
from cloud.redaction.rules.tracks import HELD_S, Box, Key, Track, box_at, hidden_box, key_of, unsure_of, within
from cloud.rules.verdicts import Verdict, allow, deny

MOST_TRACKS: Final = 5_000
MOST_MUTES: Final = 500
"""Bounds of the work that a plan can ask for."""

MUTED_EARLIER_S: Final = 0.05
"""How much earlier and later than asked the sound is gone: a sound's packet reaches into its neighbours."""

MOVED_S: Final = 0.3
"""Where somebody says where a track is, it no longer counts where it was thought to be so much earlier and later."""

SMALLEST: Final = 0.005
"""Part of the picture below which a drawn box is a slip of the hand."""


class Span(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From one moment to another, in seconds of the film."""

    from_s: float
    until_s: float


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is hidden and silenced in one recording.

    `rest_hidden`: the whole picture is hidden but for the tracks that stay visible: the safe way with many people.
    """

    v: int = 1
    recording: str
    first: int
    last: int
    length_s: float
    detector: str
    tracks: tuple[Track, ...] = ()
    rest_hidden: bool = False
    mutes: tuple[Span, ...] = ()


class Cut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a plan touches one second of film: what the process that hides is told, and no more."""

    tracks: tuple[Track, ...]
    rest_hidden: bool
    mutes: tuple[Span, ...]


class Show(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="show"):
    """Hide a track, or leave it visible."""

    track: str
    hidden: bool


class Only(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="only"):
    """Leave one visible, and nobody else."""

    track: str


class Rest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="rest"):
    """Hide the whole picture but for what stays visible, or only the tracks."""

    hidden: bool


class Draw(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="draw"):
    """Draw a box by hand, from one moment to another."""

    box: Box
    from_s: float
    until_s: float


class Move(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="move"):
    """Say where a track is at one moment."""

    track: str
    at_s: float
    box: Box


class Extend(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="extend"):
    """Let a track begin earlier or end later; it holds still there."""

    track: str
    from_s: float
    until_s: float


class Drop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="drop"):
    """Take a track away: nobody was there."""

    track: str


class Mute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="mute"):
    """Silence a stretch."""

    from_s: float
    until_s: float


class Unmute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="unmute"):
    """Take a silence away, by its number."""

    number: int


class Settle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="settle"):
    """Say that what is uncertain of these tracks was looked at, and is right as it is."""

    tracks: tuple[str, ...]


Edit = Show | Only | Rest | Draw | Move | Extend | Drop | Mute | Unmute | Settle


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What people must still do: judge what is uncertain, and watch the whole film as it will be made (seconds)."""

    unsettled: Mapping[str, tuple[Span, ...]]
    unwatched: Mapping[str, tuple[Span, ...]]
    length_s: float

    @property
    def watched_s(self) -> Mapping[str, float]:
        """How much of the film each of them watched."""
        return {
            who: round(self.length_s - sum(span.until_s - span.from_s for span in left), 3)
            for who, left in self.unwatched.items()
        }


def edited(plan: Plan, edit: Edit) -> Plan:
    """Return the plan with one edit; raise Refused (NOT_FOUND, MALFORMED) for one that makes no sense."""
    match edit:
        case Show():
            chosen = _track(plan, edit.track)
            return _with(plan, chosen.id, msgspec.structs.replace(chosen, hidden=edit.hidden))
        case Only():
            _track(plan, edit.track)
            tracks = tuple(msgspec.structs.replace(each, hidden=each.id != edit.track) for each in plan.tracks)
            return msgspec.structs.replace(plan, tracks=tracks)
        case Rest():
            return msgspec.structs.replace(plan, rest_hidden=edit.hidden)
        case Draw():
            return _drawn(plan, edit)
        case Move():
            return _moved(plan, edit)
        case Extend():
            return _extended(plan, edit)
        case Drop():
            gone = _track(plan, edit.track)
            return msgspec.structs.replace(plan, tracks=tuple(each for each in plan.tracks if each.id != gone.id))
        case Mute():
            if len(plan.mutes) >= MOST_MUTES:
                raise refuse(Code.TOO_LARGE, "plan", expected=f"at most {MOST_MUTES} silences", got="one more")
            spans = [*plan.mutes, _span(plan, edit.from_s, edit.until_s)]
            return msgspec.structs.replace(plan, mutes=joined(spans))
        case Unmute():
            if not 0 <= edit.number < len(plan.mutes):
                raise refuse(Code.NOT_FOUND, "silence", expected="one of the plan", got=edit.number)
            mutes = tuple(each for number, each in enumerate(plan.mutes) if number != edit.number)
            return msgspec.structs.replace(plan, mutes=mutes)
        case Settle():
            chosen_ids = {_track(plan, each).id for each in edit.tracks}
            tracks = tuple(
                msgspec.structs.replace(each, settled=True) if each.id in chosen_ids else each for each in plan.tracks
            )
            return msgspec.structs.replace(plan, tracks=tracks)


def with_found(plan: Plan, found: Sequence[Track], *, detector: str) -> Plan:
    """Return the plan with the tracks of a new search; what was drawn by hand stays.

    Of a crowd with too many to keep, the whole picture is hidden.
    """
    drawn = tuple(each for each in plan.tracks if each.drawn)
    kept = found[: MOST_TRACKS - len(drawn)]
    rest_hidden = plan.rest_hidden or len(kept) < len(found)
    return msgspec.structs.replace(plan, tracks=(*kept, *drawn), detector=detector, rest_hidden=rest_hidden)


def with_followed(plan: Plan, drawn: Draw, keys: Sequence[Key]) -> Plan:
    """Return the plan with a box that was drawn and then followed. Where it was lost, it holds still as long as asked.

    What was followed may have been lost or mistaken for something else: a person looks at it.
    """
    begun = _drawn(plan, drawn)
    track = begun.tracks[-1]
    moved = [key for key in keys if key.at_s > track.keys[0].at_s + 1e-3 and key.width >= SMALLEST <= key.height]
    if not moved:
        return begun
    held = [track.keys[-1]._replace(x=moved[-1].x, y=moved[-1].y, width=moved[-1].width, height=moved[-1].height)]
    after = held if held[0].at_s > moved[-1].at_s else []
    keyed = msgspec.structs.replace(track, keys=(track.keys[0], *moved, *after), doubtful=True)
    return _with(begun, track.id, keyed)


def hidden_at(cut: Plan | Cut, at_s: float) -> tuple[Box, ...]:
    """Return every box that is hidden at this moment."""
    boxes = (hidden_box(track, at_s) for track in cut.tracks if track.hidden)
    return tuple(box for box in boxes if box is not None)


def visible_at(cut: Plan | Cut, at_s: float) -> tuple[Box, ...]:
    """Return what stays visible where the rest is hidden: exactly the box, and only while somebody saw it there."""
    found = []
    for track in cut.tracks:
        if not track.hidden and track.keys[0].at_s - 1e-6 <= at_s <= track.keys[-1].at_s + 1e-6:
            box = box_at(track, at_s)
            found += [] if box is None else [box]
    return tuple(found)


def muted_at(cut: Plan | Cut, from_s: float, until_s: float) -> bool:
    """Say whether a sound from one moment to another must not be heard."""
    return any(
        span.from_s - MUTED_EARLIER_S < until_s and from_s < span.until_s + MUTED_EARLIER_S for span in cut.mutes
    )


def cut_of(plan: Plan, from_s: float, until_s: float) -> Cut:
    """Return what of the plan touches the film between two moments, and a little around them."""
    begin, end = from_s - HELD_S, until_s + HELD_S
    return Cut(
        tracks=tuple(within(each, begin, end) for each in plan.tracks if each.from_s <= end and each.until_s >= begin),
        rest_hidden=plan.rest_hidden,
        mutes=tuple(each for each in plan.mutes if each.from_s < until_s + 1 and each.until_s > from_s - 1),
    )


def cut_sha256(cut: Cut) -> bytes:
    """Return what tells one cut from another: whether somebody saw it exactly so."""
    return hashlib.sha256(msgspec.msgpack.encode(cut)).digest()


def canonical(plan: Plan) -> bytes:
    """Return the plan's bytes (RFC 8785)."""
    return rfc8785.dumps(msgspec.to_builtins(plan))


def plan_sha256(plan: Plan) -> str:
    """Return the hash, in hexadecimal, by which the ledger and the derivative name this plan."""
    return hashlib.sha256(canonical(plan)).hexdigest()


def review(plan: Plan, watched: Mapping[str, Sequence[Span]]) -> Review:
    """Return what is left to do, when each of these people watched these stretches as they will be made."""
    unsettled = {
        each.id: tuple(Span(from_s=begin, until_s=min(end, plan.length_s)) for begin, end in unsure_of(each))
        for each in plan.tracks
    }
    return Review(
        unsettled={name: spans for name, spans in unsettled.items() if spans},
        unwatched={who: _left(spans, plan.length_s) for who, spans in watched.items()},
        length_s=plan.length_s,
    )


def judge_finish(plan: Plan, watched: Mapping[str, Sequence[Span]]) -> Verdict:
    """Say whether this plan may become a derivative: all of it watched by each, and no doubt left."""
    left = review(plan, watched)
    if not (plan.rest_hidden or plan.mutes or any(each.hidden for each in plan.tracks)):
        return deny("nothing is made unrecognisable", "er is niets onherkenbaar gemaakt")
    missing = {who: sum(span.until_s - span.from_s for span in spans) for who, spans in left.unwatched.items() if spans}
    if missing:
        seconds = math.ceil(max(missing.values()))
        both = len(left.unwatched) > 1
        return deny(
            f"{seconds} seconds were not watched in the preview by {'each of the two' if both else 'who makes it'}",
            f"{seconds} seconden zijn nog niet door {'u beiden' if both else 'u'} bekeken in het voorbeeld",
        )
    if left.unsettled:
        count = len(left.unsettled)
        return deny(f"{count} uncertain tracks were not judged", f"over {count} onzekere sporen is nog niet beslist")
    return allow("all of it was watched, and no doubt is left", "alles is bekeken, en niets is nog onzeker")


def judge_settle(plan: Plan, edit: Settle, watched: Sequence[Span]) -> Verdict:
    """Say whether who watched these stretches may say that these tracks are right: only of what was watched."""
    for name in edit.tracks:
        spans = [Span(from_s=a, until_s=min(b, plan.length_s)) for a, b in unsure_of(_track(plan, name))]
        if not all(_covered(span, watched) for span in spans):
            return deny(
                "what is uncertain was not watched in the preview",
                "wat onzeker is, is nog niet bekeken in het voorbeeld",
            )
    return allow("it was watched", "het is bekeken")


def _left(watched: Sequence[Span], length_s: float) -> tuple[Span, ...]:
    left, at_s = [], 0.0
    for span in joined(list(watched)):
        if span.from_s > at_s + 1e-3:
            left.append(Span(from_s=at_s, until_s=span.from_s))
        at_s = max(at_s, span.until_s)
    if length_s > at_s + 1e-3:
        left.append(Span(from_s=at_s, until_s=length_s))
    return tuple(left)


def _track(plan: Plan, name: str) -> Track:
    found = next((each for each in plan.tracks if each.id == name), None)
    if found is None:
        raise refuse(Code.NOT_FOUND, "track", expected="one of the plan", got=name)
    return found


def _with(plan: Plan, name: str, changed: Track) -> Plan:
    return msgspec.structs.replace(plan, tracks=tuple(changed if each.id == name else each for each in plan.tracks))


def _drawn(plan: Plan, edit: Draw) -> Plan:
    if len(plan.tracks) >= MOST_TRACKS:
        raise refuse(Code.TOO_LARGE, "plan", expected=f"at most {MOST_TRACKS} tracks", got="one more")
    span, box = _span(plan, edit.from_s, edit.until_s), _within(edit.box)
    number = max((int(each.id[1:]) for each in plan.tracks if each.drawn), default=0) + 1
    track = Track(id=f"t{number}", keys=(key_of(span.from_s, box), key_of(span.until_s, box)), drawn=True)
    return msgspec.structs.replace(plan, tracks=(*plan.tracks, track))


def _moved(plan: Plan, edit: Move) -> Plan:
    track = _track(plan, edit.track)
    key = key_of(_moment(plan, edit.at_s), _within(edit.box))
    others = [each for each in track.keys if abs(each.at_s - key.at_s) > MOVED_S]
    keys = tuple(sorted([*others, key], key=_when))
    return _with(plan, track.id, msgspec.structs.replace(track, keys=keys))


def _extended(plan: Plan, edit: Extend) -> Plan:
    track = _track(plan, edit.track)
    first, last = track.keys[0], track.keys[-1]
    keys = list(track.keys)
    if (from_s := _moment(plan, edit.from_s)) < first.at_s:
        keys.insert(0, first._replace(at_s=round(from_s, 3)))
    if (until_s := _moment(plan, edit.until_s)) > last.at_s:
        keys.append(last._replace(at_s=round(until_s, 3)))
    return _with(plan, track.id, msgspec.structs.replace(track, keys=tuple(keys)))


def _when(key: Key) -> float:
    return key.at_s


def _moment(plan: Plan, at_s: float) -> float:
    if not 0 <= at_s <= plan.length_s + 1:
        raise refuse(Code.MALFORMED, "moment", expected=f"0 to {plan.length_s} s", got=at_s)
    return min(at_s, plan.length_s)


def _span(plan: Plan, from_s: float, until_s: float) -> Span:
    begin, end = _moment(plan, from_s), _moment(plan, until_s)
    if end <= begin:
        raise refuse(Code.MALFORMED, "stretch", expected="an end after its begin", got=f"{from_s} to {until_s}")
    return Span(from_s=round(begin, 3), until_s=round(end, 3))


def _within(box: Box) -> Box:
    left, top = max(0.0, box.x), max(0.0, box.y)
    right, foot = min(1.0, box.x + box.width), min(1.0, box.y + box.height)
    if not all(map(math.isfinite, box)) or right - left < SMALLEST or foot - top < SMALLEST:
        raise refuse(Code.MALFORMED, "box", expected="a part of the picture", got=tuple(box))
    return Box(left, top, right - left, foot - top)


def joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return the same stretches, in order, none touching another."""
    joined: list[Span] = []
    for span in sorted(spans, key=_begin):
        if joined and span.from_s <= joined[-1].until_s + 1e-3:
            until_s = max(span.until_s, joined[-1].until_s)
            joined[-1] = Span(from_s=joined[-1].from_s, until_s=until_s)
        else:
            joined.append(span)
    return tuple(joined)


def _begin(span: Span) -> float:
    return span.from_s


def _covered(span: Span, by: Sequence[Span]) -> bool:
    return any(each.from_s <= span.from_s + 1e-3 and span.until_s <= each.until_s + 1e-3 for each in joined(list(by)))

"""Presses of which only the card knows any more: their events were refused by the disk, and then the camera died.

An event waits in the outbox until the cloud has it. A disk that takes nothing leaves it in memory, and it dies with the
camera; its recording lies on the card all the same, and at the next boot the press is told from there. The cloud knows
a press by its recording, so that one it heard before is not a second one.
"""

from collections.abc import Collection
from uuid import UUID

from broker.wire.events import Activation, Deactivation, decode
from broker.wire.ids import RecordingId, fixed_at
from broker.wire.refusals import Refused
from edge.card import Closed, MemoryCard
from edge.outbox import Waiting


def told_anew(card: MemoryCard, *, said: Collection[str], waiting: Collection[Waiting]) -> list[Activation | Closed]:
    """Return what the card knows and nobody else may: the press of each recording, and its end when it has one.

    `said`: recordings of which all was on disk when the camera was switched off; `waiting`: what is on disk now. Where
    the press was, only the lost event knew. Blocks on the disk.
    """
    pressed, ended = recordings_of(waiting)
    found = list[Activation | Closed]()
    for recording in card.recordings():
        if str(recording) in said or {recording} <= pressed & ended:
            continue
        try:
            begins_at, closed = card.account_of(recording)
        except (Refused, ValueError, OSError):
            begins_at, closed = None, None  # its name alone says that somebody pressed, and when
        if recording not in pressed:
            pressed_at = fixed_at(recording)
            reach = max(0.0, (pressed_at - begins_at).total_seconds()) if begins_at else 0.0
            found.append(Activation(recording=recording, activated_at=pressed_at, pre_record_s=round(reach, 3)))
        if closed is not None and recording not in ended:
            found.append(closed)
    return found


def recordings_of(waiting: Collection[Waiting]) -> tuple[set[RecordingId], set[RecordingId]]:
    """Return the recordings whose press, and those whose end, is among these events."""
    pressed, ended = set[UUID](), set[UUID]()
    for each in waiting:
        try:
            said = decode(each.payload).said
        except Refused:
            continue  # of a program older or newer than this one
        if isinstance(said, Activation):
            pressed.add(said.recording)
        elif isinstance(said, Deactivation):
            ended.add(said.recording)
    return set(map(RecordingId, pressed)), set(map(RecordingId, ended))

"""Stories of cameras, message by message: left of the bar what comes in, right of it what that changes on the card.

`cards.txt` is read as it is run. A moment is in seconds; *said* is the camera's own clock where it differs, *kept* what
the broker had kept. *watch* is our own clock, *deaf* while we hear nobody, *assign* the roster.
"""

import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from broker.wire import events
from broker.wire.ids import DeviceId, Org
from cloud.rules.fleet import CameraCard, DockCard, Shift, assign, hear, hear_dock, watch

ZERO = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
STORIES = Path(__file__).parent / "cards.txt"
LINE = re.compile(r"(?P<at>-?\d+)(?: said (?P<said>-?\d+))?(?P<kept> kept)?: (?P<what>[^|]*)(?:\|(?P<changes>.*))?")


def moment(seconds: str) -> datetime:
    return ZERO + timedelta(seconds=int(seconds))


def message(words: list[str], at: datetime) -> tuple[str, events.Said]:
    """Return (boot, what is said) of the words of a line."""
    match words:
        case [("standby" | "recording" | "docked" | "off" | "lost") as status, boot, *more]:
            facts: dict[str, Any] = {"battery_pct": 80, "card_free_pct": 90, "settings_version": 1, "buffering": True}
            for fact in more:
                name, _, value = fact.partition("=")
                facts[name] = UUID(int=int(value)) if name == "recording" else value if name == "dock" else int(value)
            facts["buffering"] = bool(facts["buffering"])
            return boot, events.CameraState(status=status, boot=boot, **facts)
        case ["press", boot, recording]:
            return boot, events.Activation(recording=UUID(int=int(recording)), activated_at=at, pre_record_s=30)
        case ["stop", boot, recording]:
            said = UUID(int=int(recording))
            return boot, events.Deactivation(recording=said, ended_at=at, segments=3, stop_reason="officer")
        case ["put-in", boot, dock, bay]:
            return boot, events.Docked(dock=dock, bay=int(bay))
        case ["taken-out", boot]:
            return boot, events.Undocked(dock="dock-01", bay=2)
        case ["telemetry", boot, battery, card, offset]:
            return boot, events.Telemetry(
                battery_pct=int(battery), card_free_pct=int(card), temperature_c=41.5, clock_offset_ms=int(offset)
            )
        case ["low", boot, card]:
            return boot, events.LowStorage(card_free_pct=int(card))
        case ["tamper", boot]:
            return boot, events.Tamper(what="opened")
        case ["result", boot]:
            return boot, events.CommandResult(command=UUID(int=1), done=True, reason="")
        case ["bays", ("online" | "offline" | "lost") as status, *doing]:
            found = [events.BayState(bay=at, camera=each, doing="uploading") for at, each in enumerate(doing, 1)]
            return "a", events.DockState(status=status, bays=tuple(found))
        case _:
            raise AssertionError(words)


def after(card: Any, line: re.Match[str]) -> Any:
    """Return the card after one line."""
    at, words = moment(line["at"]), line["what"].split()
    match words:
        case ["watch" | "deaf" as how, *since]:
            listening = None if how == "deaf" else moment(since[0] if since else "0")
            return watch(card, now=at, silent_after_s=35, listening_since=listening)
        case ["assign", team, officer, starts, ends]:
            until = None if ends == "open" else moment(ends)
            return assign(
                card, team=team, shift=Shift(officer=officer, starts_at=moment(starts), ends_at=until), now=at
            )
        case ["assign", team]:
            return assign(card, team=team, shift=None, now=at)
        case _:
            return spoken(card, line, at)


def spoken(card: Any, line: re.Match[str], at: datetime) -> Any:
    """Return the card after a message."""
    time = moment(line["said"] or line["at"])
    boot, said = message(line["what"].split(), time)
    event = events.Event(id=UUID(int=1), source="s", session=boot, sequence=1, time=time, said=said)
    return (hear if isinstance(card, CameraCard) else hear_dock)(card, event, at=at, kept=line["kept"] is not None)


def shown(value: Any) -> str:
    match value:
        case datetime():
            return f"{(value - ZERO).total_seconds():.0f}s"
        case UUID():
            return str(value.int)
        case StrEnum():
            return value.value
        case tuple():
            return ",".join(str(getattr(each, "camera", each)) for each in value) or "()"
        case _:
            return str(value)


def told(story: str) -> str:
    """Return the story as it went: each line with what it changed."""
    first, *lines = story.strip().splitlines()
    said = [first]
    card: Any = CameraCard(org=Org("heusden"), camera=DeviceId("cam-01"))
    if first.startswith("dock"):
        card = DockCard(org=Org("heusden"), dock=DeviceId("dock-01"), station="Gemeentehuis")
    for text in lines:
        line = LINE.fullmatch(text)
        assert line is not None, text
        before, card = card, after(card, line)
        changes = [
            f"{each.name}={shown(getattr(card, each.name))}"
            for each in fields(card)
            if getattr(before, each.name) != getattr(card, each.name)
        ]
        said.append(f"{text.partition('|')[0].rstrip()} | {' '.join(changes) or 'nothing'}")
    return "\n".join(said)


@pytest.mark.parametrize("story", STORIES.read_text(encoding="utf-8").strip().split("\n\n"), ids=lambda s: s[:60])
def test_a_story_goes_as_it_stands_there(story: str) -> None:
    assert told(story) == story.strip()


def test_a_card_that_was_never_heard_of_knows_nothing() -> None:
    card = CameraCard(org=Org("heusden"), camera=DeviceId("cam-01"))
    known = {each.name: getattr(card, each.name) for each in fields(card) if getattr(card, each.name) not in (None, ())}
    assert known == {
        "org": "heusden",
        "camera": "cam-01",
        "state": "off",
        "said": "off",
        "clock_offset_ms": 0,
        "missing": 0,
    }

"""What the names and headers of an Axis body-worn system say. Pure; times aware UTC.

Source: Axis Body Worn Content Destination API 1.6 (README of AxisCommunications/body-worn-content-destination-api).
Keys are compared in lower case: HTTP libraries change the case of headers. Values are percent-encoded UTF-8, kept here
as they were sent and decoded where they are read. Unknown keys are kept: firmware differs.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import unquote_to_bytes

from cloud.intake.outside import QUIET, Delivered, Handed, Told

CONTAINER_PREFIX: Final = "x-container-meta-"
OBJECT_PREFIX: Final = "x-object-meta-"

SYSTEM, USERS, DEVICES = "System", "Users", "Devices"
REGISTERS: Final = frozenset({SYSTEM, USERS, DEVICES})
"""Containers of things without content."""

QUIET_WHEN_REJECTED: Final = timedelta(hours=1)
"""What the system rejected is never marked complete; nothing is added to it either."""

_RECORDING: Final = re.compile(r"(?P<user>.+)_(?P<serial>[^_]+)_(?P<at>\d{8}T\d{6}Z)")
_REJECTED: Final = re.compile(r"RejectedContent_(?P<at>\d{8}T\d{6}Z|UnknownTime)_(?P<id>[^_]+)")
_FOOTAGE: Final = (".mkv", ".mp4")
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_NO_SLUG: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a container's name says."""

    user: str | None
    serial: str | None
    triggered_at: datetime | None
    rejected: bool


def read_name(container: str) -> Named:
    """Return what the name says; nothing of it where the name is of no known form."""
    rejected = _REJECTED.fullmatch(container)
    if rejected:
        return Named(user=None, serial=None, triggered_at=_compact(rejected["at"]), rejected=True)
    found = _RECORDING.fullmatch(container)
    if found is None:
        return Named(user=None, serial=None, triggered_at=None, rejected=False)
    return Named(user=found["user"], serial=found["serial"], triggered_at=_compact(found["at"]), rejected=False)


def letter_of(headers: Iterable[tuple[str, str]], prefix: str) -> dict[str, str]:
    """Return the metadata among these headers, keys in lower case, values as sent."""
    return {
        name.lower().removeprefix(prefix): value.encode(errors="surrogateescape").decode(errors="replace")
        for name, value in headers
        if name.lower().startswith(prefix)
    }


def text(letter: Mapping[str, str], key: str) -> str:
    """Return one value decoded; what is no valid encoding stays as it was sent. Empty where it is not there."""
    raw = letter.get(key.lower(), "")
    if re.search(r"%(?![0-9A-Fa-f]{2})", raw):
        return raw
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return raw


def moment(letter: Mapping[str, str], key: str) -> datetime | None:
    """Return a time: its RFC 3339 form where it is there (key + ISO), else seconds since 1970; None when unreadable."""
    for value in (text(letter, f"{key}ISO"), text(letter, key)):
        try:
            found = datetime.fromtimestamp(float(value), UTC) if _is_number(value) else datetime.fromisoformat(value)
        except (ValueError, OverflowError, OSError):
            continue
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    return None


def camera_of(container: str, letter: Mapping[str, str]) -> str:
    """Return the camera's serial number: by the container's name, else by what was written on it."""
    return read_name(container).serial or text(letter, "BWCSerialNumber") or "unknown"


def quiet(container: str) -> timedelta:
    """Return after how long without a file a container is closed that nobody completed."""
    return QUIET_WHEN_REJECTED if read_name(container).rejected else QUIET


def describe(delivered: Delivered, camera_known: bool) -> Told:
    """Return what an Axis delivery says of itself."""
    name, letter = read_name(delivered.container), delivered.letter
    clips = [each for each in delivered.files if is_footage(each.name)]
    keys = {each.name.rsplit(".", 1)[0] for each in delivered.files if each.name.endswith(".key")}
    locked = [clip for clip in clips if clip.name.rsplit(".", 1)[0] in keys]
    arrived = max((each.received_at for each in delivered.files), default=delivered.opened_at)
    activated_at = None if name.rejected else moment(letter, "TriggerOnTime") or name.triggered_at
    started_at = _first([moment(letter, "StartTime"), *(_starts(each) for each in clips), activated_at]) or arrived
    ended_at = _last([moment(letter, "StopTime"), *(moment(each.letter, "StopTime") for each in clips)])
    deviations, doubt = [], None
    if not delivered.complete and not name.rejected:
        deviations.append("never_completed")
    if not clips:
        deviations.append("no_footage")
        doubt = "a delivery without footage"
    if locked and len(locked) < len(clips):
        deviations.append("content_key_missing")
        doubt = "encrypted by the camera, and a key did not come"
    if name.rejected:
        doubt = "the camera system itself rejected it"
    return Told(
        camera=camera_of(delivered.container, letter),
        camera_known=camera_known,
        dock=_slug("scu", text(letter, "SCUSerialNumber")),
        official=name.user or text(letter, "UserID") or None,
        started_at=started_at,
        activated_at=activated_at,
        ended_at=ended_at or _last([moment(letter, "TriggerOffTime"), started_at]) or arrived,
        encrypted=bool(clips) and len(locked) == len(clips),
        deviations=tuple(deviations),
        doubt=doubt,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """What an officer marked while filming, as its letter says; the words beside it are sealed with the footage."""

    at: datetime | None
    category: str
    tags: tuple[str, ...]
    has_words: bool


def bookmarks_in(files: Iterable[tuple[str, Mapping[str, str], int]]) -> tuple[Bookmark, ...]:
    """Return the bookmarks among files (name, letter, size in bytes), in order of time; none whose letter is erased."""
    found = [
        Bookmark(
            at=moment(letter, "StartTime"),
            category=text(letter, "CategoryName"),
            tags=tuple(each.strip() for each in text(letter, "Tags").split(";") if each.strip()),
            has_words=size > 0,
        )
        for name, letter, size in files
        if name.startswith("bookmark_") and letter
    ]
    return tuple(sorted(found, key=lambda each: each.at or _NEVER))


def trails_in(files: Iterable[tuple[str, Mapping[str, str], int]]) -> int:
    """Return how many of these files tell where the camera was; what they hold is sealed with the footage."""
    return sum(name.endswith("_gpstrail.json") and bool(letter) for name, letter, _ in files)


def is_footage(name: str) -> bool:
    """Whether a file of this name is a film."""
    return name.lower().endswith(_FOOTAGE)


def _starts(clip: Handed) -> datetime | None:
    return moment(clip.letter, "StartTime")


def _compact(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _is_number(value: str) -> bool:
    return re.fullmatch(r"\d{1,12}(\.\d+)?", value) is not None


def _first(moments: list[datetime | None]) -> datetime | None:
    return min((each for each in moments if each is not None), default=None)


def _last(moments: list[datetime | None]) -> datetime | None:
    return max((each for each in moments if each is not None), default=None)


def _slug(kind: str, serial: str) -> str | None:
    slug = _NO_SLUG.sub("-", serial.lower()).strip("-")
    return f"{kind}-{slug}"[:40].rstrip("-") if slug else None

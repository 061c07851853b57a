"""One declaration per operation: the handler and the OpenAPI document both come from it, so they cannot disagree.

What an operation takes and gives stands in its function's own annotations: `path`, `query` and `body` are msgspec
structs, the return type is the answer. The rest (address, doors, refusals) stands in the decorator above it.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, BinaryIO, Final, Literal, get_type_hints
from uuid import UUID

import msgspec
from aiohttp import web

from broker.wire.refusals import Code
from cloud.api.dutch import dutch
from cloud.casework.programs import Program
from cloud.desk.people import Someone
from cloud.desk.programs import PROGRAM
from cloud.desk.rules.doors import OPENS_FOR, Door
from cloud.desk.town import HANDOVERS, ROOMS, Town
from cloud.rules.programs import Scope, Wanted
from cloud.viewing.handover import HandOvers
from cloud.viewing.rooms import Rooms

BASE: Final = "/v1"

NO_NUL: Final = r"^[^\x00]*$"
"""PostgreSQL has no place for a NUL."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4000, pattern=NO_NUL)]
"""People's words."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""An identifier of a person, device, purpose or role."""

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339 with an offset; answered in UTC."""

Recordings = Annotated[tuple[UUID, ...], msgspec.Meta(max_length=200)]


def one_of(words: Iterable[str]) -> msgspec.Meta:
    """Return the constraint: one of these words."""
    chosen = tuple(words)
    return msgspec.Meta(pattern=f"^({'|'.join(chosen)})$", extra_json_schema={"enum": list(chosen)})


STRANGER: Final = Someone(
    id="nobody", name="", roles=frozenset(), substitutes={}, function=None, department=None, team=None
)
"""Whoever asks what everybody may know."""


class Given(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename=dutch):
    """What a caller sends: a path, a query or a body. An unknown field is refused."""


class Shown(msgspec.Struct, kw_only=True, rename=dutch):
    """What a caller gets. More fields may come within a major version."""


class Nothing(Given):
    """A body with nothing in it: the act says it all."""


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer that is not JSON of ours: a document that others signed, a package, footage."""

    body: bytes | BinaryIO
    file_name: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Created:
    """Something new, and where it is, relative to the API's own address."""

    shown: Shown
    location: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a list; `following` is the cursor of the next page, None on the last."""

    shown: Shown
    following: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, and the town that is asked."""

    request: web.Request
    town: Town
    me: Someone

    @property
    def org(self) -> str:
        """The municipality."""
        return self.town.org

    @property
    def program(self) -> Program | None:
        """The account that asks; None where a person does."""
        return self.request.get(PROGRAM)

    def may_read(self, scope: Scope) -> bool:
        """Whether this belongs in the answer: always for a person, for a program only where it was given this."""
        return self.program is None or scope in self.program.scopes

    async def names(self) -> Mapping[str, str]:
        """Return everybody's name by pseudonym; nobody's for a program that was not given people."""
        return await self.town.people.names() if self.may_read(Scope.PEOPLE) else {}

    @property
    def rooms(self) -> Rooms:
        """The viewing rooms."""
        return self.request.config_dict[ROOMS]

    @property
    def handovers(self) -> HandOvers | None:
        """Where packages are made; None where nothing is handed over."""
        return self.request.config_dict.get(HANDOVERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Operations about one thing. `purpose` is why these data are processed, and is published with them.

    `footage`: what is here is about looking, which no program does.
    """

    name: str
    purpose: str
    footage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `roles` None: open to whoever is signed in."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    name: str
    summary: str
    detail: str
    group: Group
    roles: frozenset[str] | None
    does: Callable[..., Awaitable[Any]]
    path_type: type[Given] | None
    query_type: type[Given] | None
    body_type: type[Given] | None
    answer_type: Any
    refuses: tuple[Code, ...]
    created: bool
    paged: bool
    media: str
    in_viewing_place: bool
    quiet: bool
    head: bool
    guarded_by: "Operation | None"
    tagged: bool
    seat: bool
    public: bool
    program: frozenset[Scope]

    @property
    def wanted(self) -> Wanted:
        """What the rule about programs asks of this."""
        footage = self.group.footage or self.in_viewing_place or self.seat
        return Wanted(scopes=self.program, footage=footage, word=self.method != "GET" and not self.program)

    @property
    def status(self) -> int:
        """The status of success."""
        if self.answer_type is type(None):
            return 204
        return 201 if self.created else 200

    async def run(self, call: Call, **parts: Given) -> Any:
        """Do it, with the parts that were read from the request."""
        return await self.does(call, **parts)


def door(*doors: Door) -> frozenset[str]:
    """Return the roles for which any of these doors opens."""
    return frozenset().union(*(OPENS_FOR[each] for each in doors))


def operation(
    method: Literal["GET", "POST", "PUT", "DELETE"],
    path: str,
    summary: str,
    *,
    group: Group,
    roles: frozenset[str] | None = None,
    refuses: tuple[Code, ...] = (),
    created: bool = False,
    paged: bool = False,
    media: str = "application/json",
    in_viewing_place: bool = False,
    quiet: bool = False,
    head: bool = True,
    guarded_by: Operation | None = None,
    tagged: bool = False,
    seat: bool = False,
    public: bool = False,
    program: Scope | frozenset[Scope] = frozenset(),
    gives: type[Shown] | None = None,
) -> Callable[[Callable[..., Awaitable[Any]]], Operation]:
    """Make an operation of a function. `gives` names the struct inside `Created` or `Listed`.

    `guarded_by` is the reading operation whose ETag a caller may send as If-Match: then the act happens only to what
    the caller saw, and one act at a time. `quiet` operations come each second: their refusals are not written down.
    `seat`: the caller proves the seat that it took with X-Seat. `public`: also for who is not signed in; then `call.me`
    is `STRANGER`. `program`: what a program's account must have been given to do this, or one of these; none: it takes
    a person.
    """

    def declare(does: Callable[..., Awaitable[Any]]) -> Operation:
        hints = get_type_hints(does, include_extras=True)
        made = Operation(
            method=method,
            path=path,
            name=_camel(does.__name__),
            summary=summary,
            detail=" ".join((does.__doc__ or "").split()),
            group=group,
            roles=roles,
            does=does,
            path_type=hints.get("path"),
            query_type=hints.get("query"),
            body_type=hints.get("body"),
            answer_type=gives or hints["return"],
            refuses=refuses,
            created=created,
            paged=paged,
            media=media,
            in_viewing_place=in_viewing_place,
            quiet=quiet,
            head=head,
            guarded_by=guarded_by,
            tagged=tagged,
            seat=seat,
            public=public,
            program=frozenset({program}) if isinstance(program, Scope) else program,
        )
        _check(made)
        return made

    return declare


def encoded_names(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names of the fields as callers see them."""
    return tuple(field.encode_name for field in msgspec.structs.fields(struct))


def out_of_reach(given: Given) -> str | None:
    """Return the name of a moment that no calendar of ours reaches, or None: terms are counted from it in years."""
    for field in msgspec.structs.fields(given):
        value = getattr(given, field.name)
        if isinstance(value, date) and not 2000 <= value.year <= 2200:
            return field.encode_name
        if isinstance(value, Given) and (inner := out_of_reach(value)) is not None:
            return f"{field.encode_name}.{inner}"
    return None


def _check(made: Operation) -> None:
    named = set(re.findall(r"{(\w+)}", made.path))
    known = set(encoded_names(made.path_type)) if made.path_type else set()
    if named != known:
        raise TypeError(f"{made.method} {made.path}: expected path fields {sorted(named)}, got {sorted(known)}")
    if made.program and (made.wanted.footage or "assertion" in _fields(made.body_type)):
        raise TypeError(f"{made.method} {made.path}: looking and signing take a person, expected no scope")
    if not made.path.startswith("/") or made.path.endswith("/"):
        raise TypeError(f"{made.path}: expected no slash at the end")


def _fields(struct: type[msgspec.Struct] | None) -> tuple[str, ...]:
    return struct.__struct_fields__ if struct is not None else ()


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.title() for each in rest)

"""Pages of a list, by cursor: what comes meanwhile shifts nothing, and page 100 costs what page 1 costs."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec

from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Given

Item = TypeVar("Item")
Key = TypeVar("Key")


class Paged(Given):
    """How much of a list, and from where."""

    cursor: Annotated[str, msgspec.Meta(max_length=400, pattern=r"^[A-Za-z0-9_=-]*$")] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


def cursor_of(key: tuple[object, ...]) -> str:
    """Return the cursor that continues after this key."""
    return urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def read_cursor(cursor: str, form: type[Key]) -> Key | None:
    """Return the key in a cursor, None when there is no cursor; raise Refused (MALFORMED)."""
    if not cursor:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=form)
    except (ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "cursor", expected="one from a Link header", got="another") from cause


def cut(
    items: Sequence[Item], paged: Paged, key: Callable[[Item], tuple[object, ...]]
) -> tuple[Sequence[Item], str | None]:
    """Cut what was read one too many to this page; return it with the cursor of the next."""
    if len(items) <= paged.limit:
        return items, None
    return items[: paged.limit], cursor_of(key(items[paged.limit - 1]))


def cut_by_name(items: Sequence[Item], paged: Paged, name: Callable[[Item], str]) -> tuple[Sequence[Item], str | None]:
    """Cut a list that lies in memory, in order of name."""
    after = read_cursor(paged.cursor, tuple[str])
    rest = [each for each in items if after is None or name(each) > after[0]]
    return cut(rest, paged, lambda each: (name(each),))

"""Lists of which a browser gets one page at a time: which page was asked for."""

from collections.abc import Mapping


def asked_page(query: Mapping[str, str]) -> int:
    """Return the page (`blad`, from 1) that an address asks for; the first where it says nothing that is a number."""
    said = query.get("blad", "1")
    return max(1, int(said)) if said.isascii() and said.isdecimal() and len(said) < 6 else 1


def pages_of(found: int, *, per_page: int) -> int:
    """Return how many pages it takes to show this many; an empty list has one."""
    return max(1, -(-found // per_page))

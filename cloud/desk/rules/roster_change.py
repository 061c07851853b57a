"""From the register of people and keys to a list of officials for the Kluis, and in words what would change.

The Kluis believes none of this: two officials sign the list, and it looks at it by its own rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.kluis.rules.roster import Official, Roster


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a new list changes for one account, as the facts that whoever signs must see."""

    official: str
    added: bool = False
    removed: bool = False
    other_person: bool = False
    other_term: bool = False
    roles_gained: tuple[str, ...] = ()
    roles_lost: tuple[str, ...] = ()
    keys_gained: tuple[str, ...] = ()
    keys_lost: tuple[str, ...] = ()


def next_roster(old: Roster, officials: Sequence[Official]) -> Roster:
    """Return the list that would follow; whose account is whose stays as it was known."""
    people = {each.id: each.person for each in old.officials}
    return Roster(
        org=old.org,
        version=old.version + 1,
        officials=tuple(
            Official(
                id=each.id,
                person=people.get(each.id, each.person),
                department=each.department,
                employed_from=each.employed_from,
                employed_until=each.employed_until,
                appointments=each.appointments,
                substitutions=each.substitutions,
                credentials=each.credentials,
            )
            for each in sorted(officials, key=lambda official: official.id)
        ),
    )


def changes(old: Roster, new: Roster) -> tuple[Change, ...]:
    """Return everything that the new list changes, by account; empty when nothing does."""
    before, after = ({each.id: each for each in roster.officials} for roster in (old, new))
    found = (_change(name, before.get(name), after.get(name)) for name in sorted({*before, *after}))
    return tuple(each for each in found if each is not None)


def _change(name: str, old: Official | None, new: Official | None) -> Change | None:
    if old == new:
        return None
    had, has = _held(old), _held(new)
    keys_had, keys_has = _keys(old), _keys(new)
    return Change(
        official=name,
        added=old is None,
        removed=new is None,
        other_person=old is not None and new is not None and old.human != new.human,
        other_term=old is not None
        and new is not None
        and (old.employed_from, old.employed_until, old.department)
        != (new.employed_from, new.employed_until, new.department),
        roles_gained=tuple(sorted(has - had)),
        roles_lost=tuple(sorted(had - has)),
        keys_gained=tuple(sorted(keys_has - keys_had)),
        keys_lost=tuple(sorted(keys_had - keys_has)),
    )


def _held(official: Official | None) -> set[str]:
    """Roles with their periods: another period is another right."""
    if official is None:
        return set()
    held = {_period(each.role, each.from_at, each.until_at) for each in official.appointments}
    return held | {
        _period(f"{each.role} voor {each.replaced}", each.from_at, each.until_at) for each in official.substitutions
    }


def _period(role: str, start: object, end: object) -> str:
    return f"{role} ({start} – {end or '…'})"


def _keys(official: Official | None) -> set[str]:
    return {f"{each.kind} {each.id}" for each in official.credentials} if official else set()

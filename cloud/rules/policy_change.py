"""Bringing a new version of a policy into force: who may, from when, and what it changes, in words and field by field.

The college decides on a policy; here two people put what was decided into force (requirements: H-01, R-09, E-18).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from typing import Any, Final, Literal

from broker.wire.policy import Policy
from cloud.rules.explain import explain
from cloud.rules.rights import judge_role
from cloud.rules.seats import Person
from cloud.rules.verdicts import Verdict, allow, deny

PROPOSES: Final = ("privacy_officer",)
"""Who hands in the text that the college decided on."""

CONFIRMS: Final = ("municipal_secretary", "cluster_manager")
"""Who puts it into force beside that; where a policy knows neither: whoever appoints people to roles."""


def judge_proposal(policy: Policy, person: Person) -> Verdict:
    """Decide whether this person may propose a new version of the policy in force."""
    return judge_role(policy, person, PROPOSES, "propose a policy", "een nieuw beleid voorstellen")


def judge_confirmation(policy: Policy, person: Person, *, proposed_by: str) -> Verdict:
    """Decide whether this person may put into force what somebody else proposed. `policy` is the one in force."""
    if person.id == proposed_by:
        return deny("the second person is another person", "de tweede persoon is een ander")
    roles = tuple(role for role in CONFIRMS if role in policy.roles) or policy.casework.appoint
    return judge_role(policy, person, roles, "put a policy into force", "een beleid in werking laten treden")


def judge_moment(new: Policy, today: date) -> Verdict:
    """Decide whether it may come into force today: from its own first day on, and not after its last."""
    starts, ends = new.policy.valid_from, new.policy.valid_until
    if starts is not None and today < starts:
        return deny(f"it is valid from {starts} on", f"het geldt pas vanaf {starts:%d-%m-%Y}")
    if ends is not None and today > ends:
        return deny(f"it was valid until {ends}", f"het gold tot en met {ends:%d-%m-%Y}")
    return allow("it is valid today", "het geldt vandaag")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One field of the policy that says something else."""

    name: str
    was: str
    becomes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One heading of the plain words: what is said no more, and what is said now."""

    heading: str
    no_longer: tuple[str, ...]
    now: tuple[str, ...]


def fields_changed(old: Policy, new: Policy) -> tuple[Changed, ...]:
    """Return every field that differs, by its name in the file."""
    before, after = dict(_flat(old, "")), dict(_flat(new, ""))
    return tuple(
        Changed(name=name, was=before.get(name, "–"), becomes=after.get(name, "–"))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    )


def words_changed(old: Policy, new: Policy, language: Literal["nl", "en"]) -> tuple[Told, ...]:
    """Return what the public text says no more and what it says now, for each heading under which something changes."""
    found = []
    for before, after in zip(explain(old, language), explain(new, language), strict=True):
        gone = tuple(each for each in before.sentences if each not in after.sentences)
        come = tuple(each for each in after.sentences if each not in before.sentences)
        if gone or come:
            found.append(Told(heading=after.heading, no_longer=gone, now=come))
    return tuple(found)


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if is_dataclass(value):
        for each in fields(value):
            yield from _flat(getattr(value, each.name), f"{name}.{each.name}" if name else each.name)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}")
    else:
        yield name, _said(value)


def _said(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(_said(each) for each in value) or "–"
    return "none" if value is None else str(value)

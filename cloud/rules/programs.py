"""What a program without a browser may do: read and register, within what its account was given, until a day.

A program is nobody: it cannot be asked, sworn in or held to its word. So no scope exists for what takes a person, and
an operation that no scope opens stays shut. Two people let a program in: who administers asks, who answers for the
cases confirms.
"""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_network
from types import MappingProxyType
from typing import Final

from broker.wire.policy import Policy
from cloud.rules.alerts import AlertKind
from cloud.rules.rights import OVERSIGHT, REGISTERS, judge_role
from cloud.rules.seats import Person
from cloud.rules.verdicts import Verdict, allow, deny

PREFIX: Final = "prog-"
"""What every account of a program begins with, and no pseudonym of a person: the ledger shows which acted."""

LONGEST: Final = timedelta(days=366)
"""An account that nobody renews within a year is one that nobody looks after."""

_ACCOUNT: Final = re.compile(rf"{PREFIX}[a-z0-9](-?[a-z0-9]){{1,33}}")


class Scope(StrEnum):
    """One thing that an account may be given. What is not here takes a person."""

    FLEET = "fleet.read"
    ACTIVATIONS = "activations.read"
    RECORDINGS = "recordings.read"
    CASES = "cases.read"
    WORDS = "cases.words"
    REGISTER = "cases.register"
    FIGURES = "figures.read"
    POLICY = "policy.read"
    LEDGER = "ledger.read"
    PEOPLE = "people.read"
    SELF_CHECK = "self_check.read"


NEWS: Final[Mapping[str, Scope]] = MappingProxyType(
    {
        **dict.fromkeys(("camera", "dock", "service", "alert"), Scope.FLEET),
        **dict.fromkeys(("activation", "acknowledged"), Scope.ACTIVATIONS),
        **dict.fromkeys(("recording", "retention"), Scope.RECORDINGS),
        "case": Scope.CASES,
    }
)
"""Which scope opens which news: what tells of something that it may read. The other news is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an operation asks of a program: one of its scopes (none: no scope opens it), and what it is about."""

    scopes: frozenset[Scope] = frozenset()
    footage: bool = False
    word: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an account stands: its steps so far, until when, and from where it may come (CIDR; none: anywhere)."""

    confirmed: bool
    ended: bool
    until_at: datetime
    networks: tuple[str, ...] = ()


def judge_program(held: AbstractSet[Scope], wanted: Wanted) -> Verdict:
    """Decide whether a program with these scopes may do this. Footage and a person's word are never a program's."""
    if wanted.footage:
        return deny(
            "footage is looked at by two people who sit in a room; a program cannot sit there",
            "beelden worden bekeken door twee mensen die in een kamer zitten; een programma kan daar niet zitten",
        )
    if wanted.word:
        return deny(
            "deciding, approving and signing take a person who can be asked why",
            "besluiten, goedkeuren en tekenen doet iemand aan wie men kan vragen waarom",
        )
    if not wanted.scopes:
        return deny("this is not open to programs", "dit staat niet open voor programma's")
    if not wanted.scopes & held:
        named = " | ".join(sorted(wanted.scopes))
        return deny(f"this account was not given {named}", f"dit account heeft {named} niet gekregen")
    return allow("within what the account was given", "binnen wat het account heeft gekregen")


def judge_news(held: AbstractSet[Scope], kind: str, data: Mapping[str, object]) -> Verdict:
    """Decide whether a program with these scopes hears this news: no more than it can go and read."""
    if kind == "alert" and data.get("kind") not in tuple(AlertKind):
        return deny("an alert about people", "een waarschuwing over mensen")  # the emergency entrance, a late report
    if kind == "case" and "case" not in data:
        return deny("about reports and incidents", "over meldingen en incidenten")
    scope = NEWS.get(kind)
    return judge_program(held, Wanted(scopes=frozenset({scope} if scope else ())))


def judge_standing(standing: Standing, *, address: IPv4Address | IPv6Address, now: datetime) -> Verdict:
    """Decide whether an account counts now, from there."""
    if standing.ended:
        return deny("this account was ended", "dit account is beëindigd")
    if not standing.confirmed:
        return deny("this account was never confirmed", "dit account is nooit bevestigd")
    if now >= standing.until_at:
        return deny("the day of this account is over", "de einddatum van dit account is voorbij")
    if standing.networks and not any(address in ip_network(each) for each in standing.networks):
        return deny("this account may not come from there", "dit account mag niet van daar komen")
    return allow("an account that counts", "een account dat geldt")


def judge_asking(policy: Policy, person: Person) -> Verdict:
    """Decide whether this person may ask for an account: who gives roles to people."""
    return judge_role(
        policy, person, policy.casework.appoint, "ask for a program's account", "een account voor een programma vragen"
    )


def judge_confirming(policy: Policy, person: Person, *, asked_by: str) -> Verdict:
    """Decide whether this person may let a program in: somebody else, who answers for the cases."""
    if person.id == asked_by:
        return deny("the second person is another person", "de tweede persoon is een ander")
    return judge_role(policy, person, policy.casework.handle, "let a program in", "een programma toelaten")


def judge_ending(policy: Policy, person: Person) -> Verdict:
    """Decide whether this person may end an account: who may ask or confirm, and who watches over the rules."""
    watching = tuple(role for role in OVERSIGHT if role in policy.roles)
    roles = tuple(dict.fromkeys((*policy.casework.appoint, *policy.casework.handle, *watching)))
    return judge_role(policy, person, roles, "end a program's account", "een account van een programma beëindigen")


def problem_with(
    account: str, *, purpose: str, scopes: Iterable[Scope], networks: Iterable[str], until_at: datetime, now: datetime
) -> tuple[str, str, str] | None:
    """Return what is wrong with what was asked (what, expected, got), or None."""
    if not _ACCOUNT.fullmatch(account) or len(account) > 40:
        return "account", f"{PREFIX} and 2 to 35 of a-z, 0-9 and inner hyphens", account[:60]
    if not purpose.strip():
        return "purpose", "what the program is for", "nothing"
    if not tuple(scopes):
        return "scopes", "at least one", "none"
    if not now < until_at <= now + LONGEST:
        return "end", f"a day within {LONGEST.days} days", until_at.date().isoformat()
    for each in networks:
        try:
            ip_network(each)
        except ValueError:
            return "network", "such as 10.1.2.0/24", each[:60]
    return None


def as_person(account: str, scopes: AbstractSet[Scope]) -> Person:
    """Return what the rules about people see of a program: no role of any policy; one word where it may register."""
    return Person(id=account, roles=frozenset({REGISTERS}) if Scope.REGISTER in scopes else frozenset())

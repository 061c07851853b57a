"""Letters that a case writes: from templates as data to paragraphs in plain Dutch. Nothing is sent by this.

A template is a subject and blocks; a block with a condition stands in the letter when the condition is true of the
case. Words between braces are filled in. A word or condition that does not exist is an error of the template.
"""

import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from broker.wire.policy import CaseKind, Copy, Policy
from cloud.rules.terms import day_of, last_day_to_appeal, last_day_to_object

CONDITIONS: Final = frozenset(
    {
        *("held", "already_destroyed", "destroyed_before_registration", "has_term", "access_request", "complaint"),
        *("no_reason_needed", "authority_missing", "granted", "partly", "refused", "not_on_footage", "no_footage"),
        *("searched", "gives_access", "no_copy", "may_object", "upheld", "not_upheld", "objection_explained"),
        *("outcome_told", "extended", "decided", "objection_decided", "closed"),
    }
)
"""Everything that may stand behind `when` or `needs`."""

WORDS: Final = frozenset(
    {
        *("kind", "number", "received_on", "answer_by", "retention_days", "identity_methods", "extension_reason"),
        *("decided_on", "reason", "searched", "authority", "objection_weeks", "object_by", "objection_reason"),
        *("appeal_weeks", "appeal_by", "outcome_told", "reference", "held_since", "recordings"),
    }
)
"""Everything that may stand between braces."""

KINDS: Final[Mapping[CaseKind, str]] = {
    CaseKind.ACCESS_REQUEST: "verzoek tot inzage",
    CaseKind.COMPLAINT: "klacht",
    CaseKind.AANGIFTE: "aangifte",
    CaseKind.OM_DEMAND: "vordering",
    CaseKind.OM_REQUEST: "verzoek",
}
"""What a letter calls a kind of case."""


class TemplateError(ValueError):
    """A template says something that cannot be filled in; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One paragraph, and when it stands there (always, if None)."""

    text: str
    when: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One letter before it is filled in."""

    name: str
    kinds: tuple[CaseKind, ...]
    subject: str
    blocks: tuple[Block, ...]
    needs: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A case as letters need to know it. Moments are aware UTC, days are days in the Netherlands."""

    kind: CaseKind
    number: str
    received_at: datetime
    answer_by: date | None
    facts: Mapping[str, Any]
    state: str
    held: bool
    held_since: datetime | None
    recordings: int
    outcomes: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A letter, ready to be read, printed and signed by a person."""

    name: str
    subject: str
    paragraphs: tuple[str, ...]


def read_letters(text: str) -> Mapping[str, Template]:
    """Return the templates of this TOML text; raise TemplateError for a word or condition that does not exist."""
    found = {}
    for key, told in tomllib.loads(text).items():
        blocks = tuple(Block(text=each["text"], when=each.get("when")) for each in told["blocks"])
        for condition in (told.get("needs"), *(each.when for each in blocks)):
            if condition is not None and condition not in CONDITIONS:
                raise TemplateError(f"letter {key}: no condition is called {condition!r}")
        for sentence in (told["subject"], *(each.text for each in blocks)):
            unknown = {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None} - WORDS
            if unknown:
                raise TemplateError(f"letter {key}: no word is called {', '.join(sorted(unknown))}")
        found[key] = Template(
            name=told["name"],
            kinds=tuple(CaseKind(each) for each in told["kinds"]),
            subject=told["subject"],
            blocks=blocks,
            needs=told.get("needs"),
        )
    return found


def letters_of(templates: Mapping[str, Template], told: Told, policy: Policy) -> tuple[str, ...]:
    """Return which letters this case can write now."""
    true = conditions(told, policy)
    return tuple(
        key for key, each in templates.items() if told.kind in each.kinds and (each.needs is None or each.needs in true)
    )


def compose(template: Template, told: Told, policy: Policy, *, today: date) -> Letter:
    """Fill a letter in. `today` is the day of sending where none was recorded yet."""
    true, words = conditions(told, policy), fill_ins(told, policy, today=today)
    return Letter(
        name=template.name,
        subject=template.subject.format_map(words),
        paragraphs=tuple(
            each.text.format_map(words) for each in template.blocks if each.when is None or each.when in true
        ),
    )


def conditions(told: Told, policy: Policy) -> frozenset[str]:
    """Return everything that is true of this case."""
    facts, decision = told.facts, str(told.facts.get("decision", ""))
    true = {told.kind.value, decision} | set(told.outcomes)
    copies = {purpose.copy for purpose in policy.purposes.values() if told.kind in purpose.case_kinds}
    gives_access = decision in ("granted", "partly")
    true |= {
        name
        for name, is_so in {
            "held": told.held,
            "has_term": told.answer_by is not None,
            "no_reason_needed": told.kind is CaseKind.ACCESS_REQUEST and not policy.access_request.reason_required,
            "authority_missing": bool(facts.get("representative")) and not facts.get("authority"),
            "searched": decision == "no_footage" and bool(facts.get("searched")),
            "gives_access": gives_access,
            "no_copy": gives_access and copies == {Copy.NO_COPY},
            "may_object": bool(decision) and decision != "granted",
            "upheld": bool(facts.get("objection_sent_on")) and bool(facts.get("upheld")),
            "not_upheld": bool(facts.get("objection_sent_on")) and not facts.get("upheld"),
            "objection_explained": bool(facts.get("objection_reason")),
            "outcome_told": bool(facts.get("outcome_told")),
            "extended": bool(facts.get("extended")),
            "decided": bool(decision),
            "objection_decided": bool(facts.get("objection_sent_on")),
            "closed": told.state == "closed",
        }.items()
        if is_so
    }
    return frozenset(true & CONDITIONS)


def fill_ins(told: Told, policy: Policy, *, today: date) -> Mapping[str, str]:
    """Return every word that a template may use."""
    facts = told.facts
    sent = _day(facts.get("sent_on")) or today
    objected = _day(facts.get("objection_sent_on")) or today
    decided = facts.get("decided_at")
    return {
        "kind": KINDS.get(told.kind, "dossier"),
        "number": told.number,
        "received_on": _said(day_of(told.received_at)),
        "answer_by": _said(told.answer_by),
        "retention_days": str(policy.retention.days),
        "identity_methods": " of ".join(policy.access_request.identity_methods),
        "extension_reason": str(facts.get("extension_reason") or "–"),
        "decided_on": _said(day_of(datetime.fromisoformat(str(decided)))) if decided else "–",
        "reason": str(facts.get("decision_reason") or facts.get("reason") or "–"),
        "searched": _searched(facts.get("searched")),
        "authority": policy.policy.authority,
        "objection_weeks": str(policy.terms.objection_weeks),
        "object_by": _said(last_day_to_object(policy, sent)),
        "objection_reason": str(facts.get("objection_reason") or "–"),
        "appeal_weeks": str(policy.terms.appeal_weeks),
        "appeal_by": _said(last_day_to_appeal(policy, objected)),
        "outcome_told": str(facts.get("outcome_told") or "–"),
        "reference": str(facts.get("reference") or "–"),
        "held_since": _said(day_of(told.held_since)) if told.held_since else "–",
        "recordings": str(told.recordings),
    }


MONTHS: Final = (
    *("januari", "februari", "maart", "april", "mei", "juni"),
    *("juli", "augustus", "september", "oktober", "november", "december"),
)


def _said(day: date | None) -> str:
    return "–" if day is None else f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def _day(text: Any) -> date | None:
    return date.fromisoformat(str(text)) if text else None


def _searched(search: Any) -> str:
    """Say where was looked, without naming the officer."""
    if not isinstance(search, Mapping):
        return "–"
    days = [_said(day_of(datetime.fromisoformat(str(search[name])))) for name in ("from_at", "until_at")]
    return " tot en met ".join(dict.fromkeys(days))

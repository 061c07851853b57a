"""A policy in plain words, Dutch (B1) and English, for the public page: what it says is what the software does.

Sentences are made from the values alone; there is no text about a municipality here. Short sentences, everyday words.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeVar

from broker.wire.policy import (
    REQUESTING_OFFICER,
    ActivationReason,
    AnnouncementMoment,
    Bound,
    CaseKind,
    Copy,
    EndsWhen,
    Initiator,
    OnRelease,
    PlaceKind,
    Policy,
    Purpose,
    Recipient,
    Redaction,
    Scope,
)

Language = Literal["nl", "en"]


class Both(NamedTuple):
    """A sentence, or a part of one, in both languages."""

    nl: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One heading with its sentences."""

    heading: str
    sentences: tuple[str, ...]


def explain(policy: Policy, language: Language) -> tuple[Section, ...]:
    """Return what this policy means for people, in one language, heading by heading."""
    return tuple(
        Section(
            heading=getattr(heading, language),
            sentences=tuple(getattr(sentence, language) for sentence in said(policy)),
        )
        for heading, said in _SECTIONS
    )


def plain_text(policy: Policy, language: Language) -> str:
    """Return the same as one text with headings, for a terminal or a letter."""
    parts = [f"{policy.policy.title}\n{policy.policy.authority}\n"]
    parts += [
        f"\n{each.heading}\n" + "".join(f"- {line}\n" for line in each.sentences) for each in explain(policy, language)
    ]
    return "".join(parts)


def _camera(policy: Policy) -> Iterator[Both]:
    if before := policy.pre_record.seconds:
        yield Both(
            f"De camera staat stand-by. Hij onthoudt alleen de laatste {before} seconden.",
            f"The camera is on stand-by. It remembers only the last {before} seconds, over and over.",
        )
        yield Both(
            f"Drukt een medewerker op de knop, dan bewaren we ook de {before} seconden ervoor.",
            f"When an officer presses the button, we also keep the {before} seconds before it.",
        )
    else:
        yield Both(
            "De camera staat stand-by. Dan bewaart hij niets.", "The camera is on stand-by. It keeps nothing then."
        )
        yield Both(
            "We bewaren alleen wat na het drukken op de knop is opgenomen.",
            "We only keep what was recorded after the button was pressed.",
        )
    if after := policy.post_record.seconds:
        yield Both(
            f"Na het uitzetten loopt de opname nog {after} seconden door.",
            f"After switching off, recording runs on for {after} seconds.",
        )
    reasons = _listed(_REASONS, policy.activation.reasons, _OR)
    yield Both(f"De camera gaat alleen aan {reasons.nl}.", f"The camera goes on only {reasons.en}.")
    if policy.announcement.required is AnnouncementMoment.BEFORE:
        often, unless = policy.announcement.count, policy.announcement.exception_allowed
        times = Both("eerst", "first") if often == 1 else Both(f"{often} keer", f"{often} times")
        yield Both(
            f"De medewerker waarschuwt {times.nl}{', als dat kan' if unless else ''}.",
            f"The officer warns {times.en}{', if possible' if unless else ''}.",
        )
    sound = policy.recording.sound
    yield Both(
        f"De opname is {'met' if sound else 'zonder'} geluid.", f"The recording has {'sound' if sound else 'no sound'}."
    )
    allowed = _listed(_PLACES, policy.locations.allowed, _AND)
    yield Both(f"Opnemen mag hier: {allowed.nl}.", f"Recording is allowed in: {allowed.en}.")
    if policy.locations.forbidden:
        forbidden = _listed(_PLACES, policy.locations.forbidden, _AND)
        yield Both(f"Opnemen mag niet hier: {forbidden.nl}.", f"Recording is not allowed in: {forbidden.en}.")


def _keeping(policy: Policy) -> Iterator[Both]:
    yield Both(
        "De beelden zijn versleuteld. De medewerker kan ze niet bekijken of wissen.",
        "Footage is encrypted. The officer can neither view nor erase it.",
    )
    days, all_of_it = policy.retention.days, policy.retention.scope is Scope.FOOTAGE_AND_METADATA
    most = Both("ten hoogste ", "at most ") if policy.retention.bound is Bound.MAXIMUM else Both("", "")
    what = Both("de gegevens", "data") if all_of_it else Both("de beelden", "footage")
    unit = Both("dag", "day") if days == 1 else Both("dagen", "days")
    yield Both(
        f"We bewaren {what.nl} {most.nl}{days} {unit.nl}. Daarna vernietigen we ze vanzelf.",
        f"We keep {what.en} for {most.en}{days} {unit.en}. After that it is destroyed by itself.",
    )
    kinds = _listed(_KINDS, policy.hold.reasons, _OR)
    yield Both(f"We bewaren langer zolang dit loopt: {kinds.nl}.", f"We keep it longer while there is: {kinds.en}.")
    for kind, reason in policy.hold.reasons.items():
        ends, about = _listed(_ENDS, reason.ends_when, _AND), _KINDS[kind]
        yield Both(f"Bij {about.nl} bewaren we tot {ends.nl}.", f"With {about.en} we keep it until {ends.en}.")
    match policy.hold.on_release:
        case OnRelease.NEXT_RUN:
            yield Both(
                "Is de termijn dan al voorbij, dan vernietigen we de beelden meteen.",
                "If the term is over by then, the footage is destroyed at once.",
            )
        case OnRelease.GRACE_DAYS:
            yield Both(
                f"Is de termijn dan al voorbij, dan wachten we nog {policy.hold.grace_days} dagen.",
                f"If the term is over by then, we wait another {policy.hold.grace_days} days.",
            )
        case OnRelease.RETAIN_FOR:
            yield Both(
                f"Daarna bewaren we de beelden nog {policy.hold.retain_for_days} dagen.",
                f"After that we keep the footage for another {policy.hold.retain_for_days} days.",
            )


def _viewing(policy: Policy) -> Iterator[Both]:
    pool = policy.viewing.pool
    if pool.max_size is not None and pool.role is not None:
        yield Both(
            f"{pool.max_size} personen mogen de beelden bekijken.", f"{pool.max_size} people may view the footage."
        )
    if policy.viewing.quorum > 1:
        yield Both(
            "Beelden worden altijd door twee mensen samen bekeken, nooit door één.",
            "Footage is always viewed by two people together, never by one.",
        )
    if pool.other_department:
        yield Both(
            "Zij werken op een andere afdeling dan de medewerkers met een camera.",
            "They work in another department than the officers with a camera.",
        )
    for purpose in policy.purposes.values():
        seats = _seats(policy, purpose)
        yield Both(f"{_capital(purpose.nl)}: {seats.nl}.", f"{_capital(purpose.en)}: {seats.en}.")
    yield Both("Om een andere reden kijkt niemand.", "Nobody views it for any other reason.")
    recipients = _listed(_RECIPIENTS, policy.disclosure.recipients, _AND)
    yield Both(
        f"We geven beelden alleen aan: {recipients.nl}. We zetten beelden nooit online.",
        f"We hand footage only to: {recipients.en}. We never put it online.",
    )


def _rights(policy: Policy) -> Iterator[Both]:
    months, weeks = policy.terms.access_answer_months, policy.terms.objection_weeks
    term = Both("een maand", "a month") if months == 1 else Both(f"{months} maanden", f"{months} months")
    yield Both(
        f"Staat u op de beelden? Dan kunt u vragen om ze te zien. U krijgt antwoord binnen {term.nl}.",
        f"Are you on the footage? Then you can ask to see it. You get an answer within {term.en}.",
    )
    yield Both(
        "We bewaren de beelden vanaf het moment dat uw verzoek binnenkomt.",
        "We keep the footage from the moment your request comes in.",
    )
    yield Both(
        f"Bent u het niet eens met het antwoord? Dan kunt u binnen {weeks} weken bezwaar maken.",
        f"Do you disagree with the answer? Then you can object within {weeks} weeks.",
    )
    if policy.access_request.reason_required:
        yield Both("We vragen u waarom u de beelden wilt zien.", "We ask you why you want to see the footage.")
    for purpose in policy.purposes.values():
        if CaseKind.ACCESS_REQUEST in purpose.case_kinds:
            yield _COPIES[purpose.copy]
            if purpose.redaction is not Redaction.NOT_USED:
                yield Both(
                    "Anderen maken we onherkenbaar als dat nodig is.", "Others are made unrecognisable where needed."
                )
    if url := policy.policy.public_info_url:
        yield Both(f"Meer informatie: {url}", f"More information: {url}")


_SECTIONS: Final[tuple[tuple[Both, Callable[[Policy], Iterator[Both]]], ...]] = (
    (Both("De camera", "The camera"), _camera),
    (Both("Bewaren", "Keeping"), _keeping),
    (Both("Wie kijkt", "Who watches"), _viewing),
    (Both("Uw rechten", "Your rights"), _rights),
)


def _seats(policy: Policy, purpose: Purpose) -> Both:
    seats = [
        Both("de medewerker zelf", "the officer himself")
        if roles == (REQUESTING_OFFICER,)
        else _list([Both(f"de {policy.role_nl(role)}", f"the {policy.role_en(role)}") for role in roles], _OR)
        for roles in purpose.seats
    ]
    own = Both("", "")
    if purpose.initiator is Initiator.OFFICER_SELF:
        own = Both(". Alleen de medewerker kan dit vragen", ". Only the officer can ask for this")
    return Both(
        ", samen met ".join(each.nl for each in seats) + own.nl,
        ", together with ".join(each.en for each in seats) + own.en,
    )


_AND: Final = Both("en", "and")
_OR: Final = Both("of", "or")

_REASONS: Final = {
    ActivationReason.THREATENING_ESCALATION: Both(
        "als het uit de hand dreigt te lopen",
        "when things threaten to escalate",
    ),
    ActivationReason.ESCALATION: Both("als het uit de hand loopt", "when things escalate"),
    ActivationReason.OWN_SAFETY: Both("als de medewerker zelf gevaar loopt", "when the officer is not safe"),
    ActivationReason.SAFETY_OF_OTHERS: Both("als anderen gevaar lopen", "when others are not safe"),
}

_PLACES: Final = {
    PlaceKind.PUBLIC_SPACE: Both("op straat", "public space"),
    PlaceKind.PUBLICLY_ACCESSIBLE: Both("in gebouwen die voor iedereen open zijn", "buildings open to everybody"),
    PlaceKind.PRIVATE_PROPERTY: Both("op privéterrein", "private property"),
    PlaceKind.DWELLING: Both("in woningen", "dwellings"),
}

_KINDS: Final = {
    CaseKind.ACCESS_REQUEST: Both("een verzoek om beelden te zien", "a request to see the footage"),
    CaseKind.COMPLAINT: Both("een klacht", "a complaint"),
    CaseKind.AANGIFTE: Both("een aangifte", "a crime report"),
    CaseKind.OM_DEMAND: Both("een vordering van het Openbaar Ministerie", "a demand of the public prosecution"),
    CaseKind.OM_REQUEST: Both("een verzoek van het Openbaar Ministerie", "a request of the public prosecution"),
    CaseKind.LEARNING: Both("een leerverzoek", "a learning request"),
    CaseKind.OTHER_LEGAL: Both("een andere juridische reden", "another legal reason"),
    CaseKind.INTEGRITY_INVESTIGATION: Both("een integriteitsonderzoek", "an integrity investigation"),
    CaseKind.INCIDENT_EVALUATION: Both("een evaluatie van het voorval", "an evaluation of the incident"),
    CaseKind.PROCESSING_OBJECTION: Both("een bezwaar tegen het filmen", "an objection to being filmed"),
}

_ENDS: Final = {
    EndsWhen.DECISION_FINAL: Both("het besluit vaststaat", "the decision is final"),
    EndsWhen.CARRIED_OUT: Both("het besluit is uitgevoerd", "it has been carried out"),
    EndsWhen.CASE_CLOSED: Both("alles is afgehandeld", "all has been dealt with"),
    EndsWhen.OM_CONSENT: Both(
        "het Openbaar Ministerie zegt dat de beelden weg mogen",
        "the public prosecution says that it may go",
    ),
}

_RECIPIENTS: Final = {
    Recipient.POLICE: Both("de politie", "the police"),
    Recipient.OM: Both("het Openbaar Ministerie", "the public prosecution"),
}

_COPIES: Final = {
    Copy.NO_COPY: Both(
        "U kunt de beelden bij ons bekijken. Een kopie geven we niet mee.",
        "You can view it here. No copy.",
    ),
    Copy.REDACTED_COPY: Both(
        "U kunt een kopie krijgen waarop anderen onherkenbaar zijn.",
        "You can get a copy on which others are unrecognisable.",
    ),
    Copy.EVIDENCE_PACKAGE: Both("U kunt een kopie krijgen.", "You can get a copy."),
}


_Word = TypeVar("_Word")


def _listed(words: Mapping[_Word, Both], chosen: Iterable[_Word], last: Both) -> Both:
    return _list([words[each] for each in chosen], last)


def _list(words: list[Both], last: Both) -> Both:
    return Both(_joined([each.nl for each in words], last.nl), _joined([each.en for each in words], last.en))


def _joined(words: list[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

"""A policy in plain words, Dutch (B1) and English, for the public page: what it says is what the software does.

Sentences are made from the values alone; there is no text about a municipality here. Short sentences, everyday words.
"""

from dataclasses import dataclass
from typing import Final, Literal

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One heading with its sentences."""

    heading: str
    sentences: tuple[str, ...]


def explain(policy: Policy, language: Language) -> tuple[Section, ...]:
    """Return what this policy means for people, in one language, heading by heading."""
    say = _Dutch(policy) if language == "nl" else _English(policy)
    return (
        Section(heading=say.headings[0], sentences=say.camera()),
        Section(heading=say.headings[1], sentences=say.keeping()),
        Section(heading=say.headings[2], sentences=say.viewing()),
        Section(heading=say.headings[3], sentences=say.rights()),
    )


def plain_text(policy: Policy, language: Language) -> str:
    """Return the same as one text with headings, for a terminal or a letter."""
    parts = [f"{policy.policy.title}\n{policy.policy.authority}\n"]
    parts += [
        f"\n{each.heading}\n" + "".join(f"- {line}\n" for line in each.sentences) for each in explain(policy, language)
    ]
    return "".join(parts)


class _Dutch:
    headings: Final = ("De camera", "Bewaren", "Wie kijkt", "Uw rechten")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def camera(self) -> tuple[str, ...]:
        policy = self._policy
        said = [
            f"De camera staat stand-by. Hij onthoudt alleen de laatste {policy.pre_record.seconds} seconden."
            if policy.pre_record.seconds
            else "De camera staat stand-by. Dan bewaart hij niets.",
            f"Drukt een medewerker op de knop, dan bewaren we ook de {policy.pre_record.seconds} seconden ervoor."
            if policy.pre_record.seconds
            else "We bewaren alleen wat na het drukken op de knop is opgenomen.",
        ]
        if policy.post_record.seconds:
            said.append(f"Na het uitzetten loopt de opname nog {policy.post_record.seconds} seconden door.")
        said.append(
            "De camera gaat alleen aan " + _list([_REASONS[each][0] for each in policy.activation.reasons], "of") + "."
        )
        if policy.announcement.required is AnnouncementMoment.BEFORE:
            times = (
                "waarschuwt eerst" if policy.announcement.count == 1 else f"waarschuwt {policy.announcement.count} keer"
            )
            unless = ", als dat kan" if policy.announcement.exception_allowed else ""
            said.append(f"De medewerker {times}{unless}.")
        said.append("De opname is " + ("met" if policy.recording.sound else "zonder") + " geluid.")
        said.append("Opnemen mag hier: " + _list([_PLACES[each][0] for each in policy.locations.allowed], "en") + ".")
        if policy.locations.forbidden:
            said.append(
                "Opnemen mag niet hier: " + _list([_PLACES[each][0] for each in policy.locations.forbidden], "en") + "."
            )
        return tuple(said)

    def keeping(self) -> tuple[str, ...]:
        policy = self._policy
        days = policy.retention.days
        most = "ten hoogste " if policy.retention.bound is Bound.MAXIMUM else ""
        what = "de gegevens" if policy.retention.scope is Scope.FOOTAGE_AND_METADATA else "de beelden"
        said = [
            "De beelden zijn versleuteld. De medewerker kan ze niet bekijken of wissen.",
            f"We bewaren {what} {most}{days} {_days_nl(days)}. Daarna vernietigen we ze vanzelf.",
            "We bewaren langer zolang dit loopt: "
            + _list([_KINDS[kind][0] for kind in policy.hold.reasons], "of")
            + ".",
        ]
        said += [
            f"Bij {_KINDS[kind][0]} bewaren we tot {_list([_ENDS[each][0] for each in reason.ends_when], 'en')}."
            for kind, reason in policy.hold.reasons.items()
        ]
        if policy.hold.on_release is OnRelease.NEXT_RUN:
            said.append("Is de termijn dan al voorbij, dan vernietigen we de beelden meteen.")
        elif policy.hold.on_release is OnRelease.GRACE_DAYS:
            said.append(f"Is de termijn dan al voorbij, dan wachten we nog {policy.hold.grace_days} dagen.")
        else:
            said.append(f"Daarna bewaren we de beelden nog {policy.hold.retain_for_days} dagen.")
        return tuple(said)

    def viewing(self) -> tuple[str, ...]:
        policy = self._policy
        said = []
        if policy.viewing.pool.max_size is not None and policy.viewing.pool.role is not None:
            said.append(f"{policy.viewing.pool.max_size} personen mogen de beelden bekijken.")
        if policy.viewing.quorum > 1:
            said.append("Beelden worden altijd door twee mensen samen bekeken, nooit door één.")
        if policy.viewing.pool.other_department:
            said.append("Zij werken op een andere afdeling dan de medewerkers met een camera.")
        said += [f"{_capital(purpose.nl)}: {self._seats(purpose)}." for purpose in policy.purposes.values()]
        said.append("Om een andere reden kijkt niemand.")
        said.append(
            "We geven beelden alleen aan: "
            + _list([_RECIPIENTS[each][0] for each in policy.disclosure.recipients], "en")
            + ". We zetten beelden nooit online."
        )
        return tuple(said)

    def rights(self) -> tuple[str, ...]:
        policy, terms = self._policy, self._policy.terms
        months = "een maand" if terms.access_answer_months == 1 else f"{terms.access_answer_months} maanden"
        said = [
            f"Staat u op de beelden? Dan kunt u vragen om ze te zien. U krijgt antwoord binnen {months}.",
            "We bewaren de beelden vanaf het moment dat uw verzoek binnenkomt.",
            f"Bent u het niet eens met het antwoord? Dan kunt u binnen {terms.objection_weeks} weken bezwaar maken.",
        ]
        if policy.access_request.reason_required:
            said.append("We vragen u waarom u de beelden wilt zien.")
        for purpose in policy.purposes.values():
            if CaseKind.ACCESS_REQUEST in purpose.case_kinds:
                said.append(_COPIES[purpose.copy][0])
                if purpose.redaction is not Redaction.NOT_USED:
                    said.append("Anderen maken we onherkenbaar als dat nodig is.")
        if policy.policy.public_info_url:
            said.append(f"Meer informatie: {policy.policy.public_info_url}")
        return tuple(said)

    def _seats(self, purpose: Purpose) -> str:
        names = [
            "de medewerker zelf"
            if roles == (REQUESTING_OFFICER,)
            else _list([f"de {self._policy.role_nl(r)}" for r in roles], "of")
            for roles in purpose.seats
        ]
        own = " Alleen de medewerker kan dit vragen" if purpose.initiator is Initiator.OFFICER_SELF else ""
        return ", samen met ".join(names) + ("." + own if own else "")


class _English:
    headings: Final = ("The camera", "Keeping", "Who watches", "Your rights")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def camera(self) -> tuple[str, ...]:
        policy = self._policy
        said = [
            f"The camera is on stand-by. It remembers only the last {policy.pre_record.seconds} seconds, over and over."
            if policy.pre_record.seconds
            else "The camera is on stand-by. It keeps nothing then.",
            f"When an officer presses the button, we also keep the {policy.pre_record.seconds} seconds before it."
            if policy.pre_record.seconds
            else "We only keep what was recorded after the button was pressed.",
        ]
        if policy.post_record.seconds:
            said.append(f"After switching off, recording runs on for {policy.post_record.seconds} seconds.")
        said.append(
            "The camera goes on only " + _list([_REASONS[each][1] for each in policy.activation.reasons], "or") + "."
        )
        if policy.announcement.required is AnnouncementMoment.BEFORE:
            times = "warns first" if policy.announcement.count == 1 else f"warns {policy.announcement.count} times"
            unless = ", if possible" if policy.announcement.exception_allowed else ""
            said.append(f"The officer {times}{unless}.")
        said.append("The recording has " + ("sound." if policy.recording.sound else "no sound."))
        said.append(
            "Recording is allowed in: " + _list([_PLACES[each][1] for each in policy.locations.allowed], "and") + "."
        )
        if policy.locations.forbidden:
            said.append(
                "Recording is not allowed in: "
                + _list([_PLACES[each][1] for each in policy.locations.forbidden], "and")
                + "."
            )
        return tuple(said)

    def keeping(self) -> tuple[str, ...]:
        policy = self._policy
        days = policy.retention.days
        most = "at most " if policy.retention.bound is Bound.MAXIMUM else ""
        what = "data" if policy.retention.scope is Scope.FOOTAGE_AND_METADATA else "footage"
        said = [
            "Footage is encrypted. The officer can neither view nor erase it.",
            f"We keep {what} for {most}{days} {'day' if days == 1 else 'days'}. After that it is destroyed by itself.",
            "We keep it longer while there is: " + _list([_KINDS[kind][1] for kind in policy.hold.reasons], "or") + ".",
        ]
        said += [
            f"With {_KINDS[kind][1]} we keep it until {_list([_ENDS[each][1] for each in reason.ends_when], 'and')}."
            for kind, reason in policy.hold.reasons.items()
        ]
        if policy.hold.on_release is OnRelease.NEXT_RUN:
            said.append("If the term is over by then, the footage is destroyed at once.")
        elif policy.hold.on_release is OnRelease.GRACE_DAYS:
            said.append(f"If the term is over by then, we wait another {policy.hold.grace_days} days.")
        else:
            said.append(f"After that we keep the footage for another {policy.hold.retain_for_days} days.")
        return tuple(said)

    def viewing(self) -> tuple[str, ...]:
        policy = self._policy
        said = []
        if policy.viewing.pool.max_size is not None and policy.viewing.pool.role is not None:
            said.append(f"{policy.viewing.pool.max_size} people may view the footage.")
        if policy.viewing.quorum > 1:
            said.append("Footage is always viewed by two people together, never by one.")
        if policy.viewing.pool.other_department:
            said.append("They work in another department than the officers with a camera.")
        said += [f"{_capital(purpose.en)}: {self._seats(purpose)}." for purpose in policy.purposes.values()]
        said.append("Nobody views it for any other reason.")
        said.append(
            "We hand footage only to: "
            + _list([_RECIPIENTS[each][1] for each in policy.disclosure.recipients], "and")
            + ". We never put it online."
        )
        return tuple(said)

    def rights(self) -> tuple[str, ...]:
        policy, terms = self._policy, self._policy.terms
        months = "a month" if terms.access_answer_months == 1 else f"{terms.access_answer_months} months"
        said = [
            f"Are you on the footage? Then you can ask to see it. You get an answer within {months}.",
            "We keep the footage from the moment your request comes in.",
            f"Do you disagree with the answer? Then you can object within {terms.objection_weeks} weeks.",
        ]
        if policy.access_request.reason_required:
            said.append("We ask you why you want to see the footage.")
        for purpose in policy.purposes.values():
            if CaseKind.ACCESS_REQUEST in purpose.case_kinds:
                said.append(_COPIES[purpose.copy][1])
                if purpose.redaction is not Redaction.NOT_USED:
                    said.append("Others are made unrecognisable where needed.")
        if policy.policy.public_info_url:
            said.append(f"More information: {policy.policy.public_info_url}")
        return tuple(said)

    def _seats(self, purpose: Purpose) -> str:
        names = [
            "the officer himself"
            if roles == (REQUESTING_OFFICER,)
            else _list([f"the {self._policy.role_en(r)}" for r in roles], "or")
            for roles in purpose.seats
        ]
        own = " Only the officer can ask for this" if purpose.initiator is Initiator.OFFICER_SELF else ""
        return ", together with ".join(names) + ("." + own if own else "")


_REASONS: Final = {
    ActivationReason.THREATENING_ESCALATION: (
        "als het uit de hand dreigt te lopen",
        "when things threaten to escalate",
    ),
    ActivationReason.ESCALATION: ("als het uit de hand loopt", "when things escalate"),
    ActivationReason.OWN_SAFETY: ("als de medewerker zelf gevaar loopt", "when the officer is not safe"),
    ActivationReason.SAFETY_OF_OTHERS: ("als anderen gevaar lopen", "when others are not safe"),
}

_PLACES: Final = {
    PlaceKind.PUBLIC_SPACE: ("op straat", "public space"),
    PlaceKind.PUBLICLY_ACCESSIBLE: ("in gebouwen die voor iedereen open zijn", "buildings open to everybody"),
    PlaceKind.PRIVATE_PROPERTY: ("op privéterrein", "private property"),
    PlaceKind.DWELLING: ("in woningen", "dwellings"),
}

_KINDS: Final = {
    CaseKind.ACCESS_REQUEST: ("een verzoek om beelden te zien", "a request to see the footage"),
    CaseKind.COMPLAINT: ("een klacht", "a complaint"),
    CaseKind.AANGIFTE: ("een aangifte", "a crime report"),
    CaseKind.OM_DEMAND: ("een vordering van het Openbaar Ministerie", "a demand of the public prosecution"),
    CaseKind.OM_REQUEST: ("een verzoek van het Openbaar Ministerie", "a request of the public prosecution"),
    CaseKind.LEARNING: ("een leerverzoek", "a learning request"),
    CaseKind.OTHER_LEGAL: ("een andere juridische reden", "another legal reason"),
    CaseKind.INTEGRITY_INVESTIGATION: ("een integriteitsonderzoek", "an integrity investigation"),
    CaseKind.INCIDENT_EVALUATION: ("een evaluatie van het voorval", "an evaluation of the incident"),
    CaseKind.PROCESSING_OBJECTION: ("een bezwaar tegen het filmen", "an objection to being filmed"),
}

_ENDS: Final = {
    EndsWhen.DECISION_FINAL: ("het besluit vaststaat", "the decision is final"),
    EndsWhen.CARRIED_OUT: ("het besluit is uitgevoerd", "it has been carried out"),
    EndsWhen.CASE_CLOSED: ("alles is afgehandeld", "all has been dealt with"),
    EndsWhen.OM_CONSENT: (
        "het Openbaar Ministerie zegt dat de beelden weg mogen",
        "the public prosecution says that it may go",
    ),
}

_RECIPIENTS: Final = {
    Recipient.POLICE: ("de politie", "the police"),
    Recipient.OM: ("het Openbaar Ministerie", "the public prosecution"),
}

_COPIES: Final = {
    Copy.NO_COPY: (
        "U kunt de beelden bij ons bekijken. Een kopie geven we niet mee.",
        "You can view it here. No copy.",
    ),
    Copy.REDACTED_COPY: (
        "U kunt een kopie krijgen waarop anderen onherkenbaar zijn.",
        "You can get a copy on which others are unrecognisable.",
    ),
    Copy.EVIDENCE_PACKAGE: ("U kunt een kopie krijgen.", "You can get a copy."),
}


def _list(words: list[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _days_nl(days: int) -> str:
    return "dag" if days == 1 else "dagen"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

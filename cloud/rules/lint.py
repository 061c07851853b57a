"""What a policy may say but somebody should know: each warning with its article. Nothing is ever changed by it.

No legal advice: the articles tell where to look.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from broker.wire.policy import (
    CaseKind,
    Copy,
    EndsWhen,
    ExcludeInvolved,
    PlaceKind,
    Policy,
    Redaction,
    Via,
)
from cloud.rules.terms import add_months

USUAL_DAYS: Final = 28
"""The usual four weeks for camera images without an incident (guideline of the supervisory authority)."""

ACCESS_MONTHS: Final = 1
"""To answer an access request (AVG 12(3))."""

ACCESS_EXTENSION_MONTHS: Final = 2
"""By which that may be extended (AVG 12(3))."""

OBJECTION_WEEKS: Final = 6
"""To object and to appeal (Awb 6:7)."""

COMPLAINT_WEEKS: Final = 6
"""To handle a complaint (Awb 9:11)."""

COMMITTEE_WEEKS: Final = 10
"""To handle it with a committee (Awb 9:11)."""

DPIA_MONTHS: Final = 36
"""After so many months an assessment is asked for anew (AVG 35(11); what municipalities do)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tension:
    """One warning: which rule, which field, which article, and what is at stake in English and Dutch."""

    rule: str
    field: str
    article: str
    says: str
    zegt: str


def lint(policy: Policy, *, today: date) -> tuple[Tension, ...]:
    """Return what somebody should know about this policy, in the order of the rules. Changes nothing."""
    return tuple(warning for rule in RULES for warning in rule(policy, today))


def _answer_term(policy: Policy, _today: date) -> Iterator[Tension]:
    terms = policy.terms
    if terms.access_answer_months > ACCESS_MONTHS or terms.access_extension_months > ACCESS_EXTENSION_MONTHS:
        yield Tension(
            rule="L-01",
            field="terms.access_answer_months",
            article="AVG 12(3)",
            says="an access request is answered within one month, extended once by two at most",
            zegt="een inzageverzoek wordt binnen één maand beantwoord, eenmaal te verlengen met twee",
        )


def _no_copy(policy: Policy, _today: date) -> Iterator[Tension]:
    for name, purpose in policy.purposes.items():
        if CaseKind.ACCESS_REQUEST in purpose.case_kinds and purpose.copy is Copy.NO_COPY:
            yield Tension(
                rule="L-02",
                field=f"purposes.{name}.copy",
                article="AVG 15(3), 15(4)",
                says="there is a right to a copy; refusing one needs a reason per case, and a redacted copy is milder",
                zegt="er is recht op een kopie; weigeren vraagt per geval een reden, een onherkenbare kopie is milder",
            )


def _reason_asked(policy: Policy, _today: date) -> Iterator[Tension]:
    if policy.access_request.reason_required:
        yield Tension(
            rule="L-03",
            field="access_request.reason_required",
            article="AVG 12, 15",
            says="a reason may not be asked as a condition for access",
            zegt="een reden mag geen voorwaarde zijn voor inzage",
        )


def _access_narrowed(policy: Policy, _today: date) -> Iterator[Tension]:
    told = policy.access_request
    if told.requires_case is not None:
        yield Tension(
            rule="L-04",
            field="access_request.requires_case",
            article="AVG 15, 23",
            says="access only beside another case narrows a right and needs a ground in law",
            zegt="inzage alleen naast een ander dossier beperkt een recht en vraagt een wettelijke grond",
        )
    if told.latest_days is not None:
        early = told.latest_days < policy.retention.days
        yield Tension(
            rule="L-04",
            field="access_request.latest_days",
            article="AVG 15, 23",
            says="a latest day before destruction narrows a right and needs a ground in law"
            if early
            else "the latest day lies after destruction: it says nothing",
            zegt="een uiterste dag vóór de vernietiging beperkt een recht en vraagt een wettelijke grond"
            if early
            else "de uiterste dag ligt na de vernietiging en zegt dus niets",
        )


def _objection(policy: Policy, _today: date) -> Iterator[Tension]:
    if min(policy.terms.objection_weeks, policy.terms.appeal_weeks) < OBJECTION_WEEKS:
        yield Tension(
            rule="L-05",
            field="terms.objection_weeks",
            article="UAVG 34; Awb 6:7, 4:17",
            says="a refusal is a decision: six weeks to object, and a late one may cost penalty payments",
            zegt="een weigering is een besluit: zes weken bezwaar, en te laat beslissen kan een dwangsom kosten",
        )


def _hold_at_receipt(policy: Policy, _today: date) -> Iterator[Tension]:
    reason = policy.hold.reasons.get(CaseKind.ACCESS_REQUEST)
    if reason is None or not reason.on_receipt or EndsWhen.CARRIED_OUT not in reason.ends_when:
        yield Tension(
            rule="L-06",
            field="hold.reasons.access_request",
            article="AVG 15; 5(2)",
            says="destroying footage after a request came in frustrates the right: hold at receipt, until carried out",
            zegt="vernietigen na een verzoek maakt het recht zinloos: bewaar vanaf ontvangst, tot de uitvoering",
        )


def _police_data(policy: Policy, _today: date) -> Iterator[Tension]:
    criminal = {CaseKind.OM_DEMAND, CaseKind.OM_REQUEST, CaseKind.AANGIFTE}
    for name, purpose in policy.purposes.items():
        if criminal & set(purpose.case_kinds):
            yield Tension(
                rule="L-07",
                field=f"purposes.{name}",
                article="Wpg 32a; Besluit politiegegevens boa 3",
                says="in an investigation this is police data: viewers who are no boa need a written authorisation",
                zegt="bij opsporing zijn dit politiegegevens: kijkers die geen boa zijn hebben een autorisatie nodig",
            )
            return


def _request_is_no_demand(policy: Policy, _today: date) -> Iterator[Tension]:
    if CaseKind.OM_REQUEST in policy.disclosure.bases:
        yield Tension(
            rule="L-08",
            field="disclosure.bases",
            article="Sv 126nd; HR 2010, BL7688",
            says="who asks for footage needs a demand; only what one gives unasked, with an aangifte, needs none",
            zegt="wie beelden vraagt, moet vorderen; alleen wie zelf iets geeft, bij aangifte, heeft dat niet nodig",
        )


def _paperwork(policy: Policy, today: date) -> Iterator[Tension]:
    told = policy.paperwork
    if told.dpia_on is None or add_months(told.dpia_on, DPIA_MONTHS) < today:
        yield Tension(
            rule="L-09",
            field="paperwork.dpia_on",
            article="AVG 35; Wpg 4c",
            says="no data protection impact assessment younger than three years",
            zegt="geen gegevensbeschermingseffectbeoordeling van de laatste drie jaar",
        )
    if told.processing_register_id is None:
        yield Tension(
            rule="L-09",
            field="paperwork.processing_register_id",
            article="AVG 30",
            says="no entry in the register of processing",
            zegt="geen vermelding in het register van verwerkingen",
        )
    if told.works_council_on is None:
        yield Tension(
            rule="L-09",
            field="paperwork.works_council_on",
            article="WOR 27",
            says="no consent of the works council",
            zegt="geen instemming van de ondernemingsraad",
        )


def _complaints(policy: Policy, _today: date) -> Iterator[Tension]:
    about_complaints = any(CaseKind.COMPLAINT in purpose.case_kinds for purpose in policy.purposes.values())
    if about_complaints and policy.viewing.exclude_involved is ExcludeInvolved.NOBODY:
        yield Tension(
            rule="L-10",
            field="viewing.exclude_involved",
            article="Awb 9:7",
            says="who is complained about does not handle the complaint; the policy lets involved people sit",
            zegt="over wie geklaagd wordt, behandelt de klacht niet; dit beleid laat betrokkenen toe",
        )
    if policy.terms.complaint_weeks > COMPLAINT_WEEKS or policy.terms.complaint_committee_weeks > COMMITTEE_WEEKS:
        yield Tension(
            rule="L-10",
            field="terms.complaint_weeks",
            article="Awb 9:11",
            says="a complaint is handled within six weeks, ten with a committee",
            zegt="een klacht wordt binnen zes weken behandeld, tien met een commissie",
        )


def _long_retention(policy: Policy, _today: date) -> Iterator[Tension]:
    if policy.retention.days > USUAL_DAYS:
        yield Tension(
            rule="L-11",
            field="retention.days",
            article="AVG 5(1)(e); richtlijn cameratoezicht",
            says="longer than the usual four weeks without an incident",
            zegt="langer dan de gebruikelijke vier weken zonder incident",
        )


def _sensitive(policy: Policy, _today: date) -> Iterator[Tension]:
    sensitive = {
        "sound": policy.recording.sound,
        "dwellings": PlaceKind.DWELLING in policy.locations.allowed,
        "minors": True,
    }
    missing = [label for label, applies in sensitive.items() if applies and label not in policy.paperwork.dpia_labels]
    if missing:
        yield Tension(
            rule="L-12",
            field="paperwork.dpia_labels",
            article="AVG 35(7)",
            says="the assessment does not name: " + ", ".join(missing),
            zegt="de beoordeling noemt niet: " + ", ".join(SENSITIVE_NL[label] for label in missing),
        )


SENSITIVE_NL: Final = {"sound": "geluid", "dwellings": "woningen", "minors": "minderjarigen"}


def _pool_too_small(policy: Policy, _today: date) -> Iterator[Tension]:
    pool = policy.viewing.pool
    if pool.max_size is not None and policy.viewing.quorum > pool.max_size - 1 and not policy.substitution.allowed:
        yield Tension(
            rule="C-03",
            field="viewing.quorum",
            article="-",
            says="as soon as one of the pool is ill nobody can view: the quorum is as large as the pool",
            zegt="zodra één van de groep ziek is, kan niemand kijken: er zijn er net zoveel nodig als er zijn",
        )


def _involved_everywhere(policy: Policy, _today: date) -> Iterator[Tension]:
    for name, purpose in policy.purposes.items():
        for role, takes_over in purpose.if_involved.items():
            if takes_over not in purpose.if_involved:
                yield Tension(
                    rule="E-04b",
                    field=f"purposes.{name}.if_involved.{role}",
                    article="-",
                    says=f"when the {policy.role_en(takes_over)} was there too, nobody takes this seat",
                    zegt=f"was ook de {policy.role_nl(takes_over)} erbij, dan neemt niemand deze plaats in",
                )


def _redaction_without_copy(policy: Policy, _today: date) -> Iterator[Tension]:
    for name, purpose in policy.purposes.items():
        if CaseKind.ACCESS_REQUEST in purpose.case_kinds and purpose.redaction is Redaction.NOT_USED:
            yield Tension(
                rule="C-23",
                field=f"purposes.{name}.redaction",
                article="AVG 15(4)",
                says="others on the footage are not made unrecognisable",
                zegt="anderen op de beelden worden niet onherkenbaar gemaakt",
            )


def _ends_soon(policy: Policy, today: date) -> Iterator[Tension]:
    until = policy.policy.valid_until
    if until is not None and until < today + timedelta(days=policy.retention.days):
        yield Tension(
            rule="E-19",
            field="policy.valid_until",
            article="-",
            says="this policy ends: without a successor new footage is stored but nobody may view it",
            zegt="dit beleid loopt af: zonder opvolger worden nieuwe beelden bewaard maar door niemand bekeken",
        )


def _by_hand(policy: Policy, _today: date) -> Iterator[Tension]:
    if policy.manual_delete.early_allowed and policy.manual_delete.quorum < 2:
        yield Tension(
            rule="E-36",
            field="manual_delete.quorum",
            article="-",
            says="one person alone can destroy footage before its day, also of violence against staff",
            zegt="één persoon kan alleen beelden vóór de dag vernietigen, ook van agressie tegen medewerkers",
        )
    if Via.IMPORT in policy.ingest.via:
        yield Tension(
            rule="H-35",
            field="ingest.manual_import",
            article="AVG 5(1)(f)",
            says="footage imported by hand comes from no dock that vouches for it",
            zegt="met de hand ingevoerde beelden komen niet van een dock dat ervoor instaat",
        )


RULES: Final[tuple[Callable[[Policy, date], Iterator[Tension]], ...]] = (
    _answer_term,
    _no_copy,
    _reason_asked,
    _access_narrowed,
    _objection,
    _hold_at_receipt,
    _police_data,
    _request_is_no_demand,
    _paperwork,
    _complaints,
    _long_retention,
    _sensitive,
    _pool_too_small,
    _involved_everywhere,
    _redaction_without_copy,
    _ends_soon,
    _by_hand,
)

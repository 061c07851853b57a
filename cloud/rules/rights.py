"""Who may do what outside the viewing room: back office, cases, holds, destruction, handing over, learning."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from broker.wire.policy import Act, CaseKind, Copy, PlaceKind, Policy, Tie
from cloud.rules.lifecycles import RECORDING
from cloud.rules.seats import Involvement, Person
from cloud.rules.terms import add_months, day_of
from cloud.rules.verdicts import Verdict, allow, deny

REGISTERS = "program:cases.register"
"""What a program's account holds that may register cases (cloud.rules.programs); no role of a policy has a colon."""


def judge_back_office(policy: Policy, person: Person, act: Act) -> Verdict:
    """Decide whether this person may do this in the back office. Handing over has its own rule beside this one."""
    if not person.employed:
        return deny("this person no longer works here", "deze persoon is niet meer in dienst")
    for role, acts in policy.back_office.items():
        if act in acts and person.holds(role):
            return allow(f"the policy gives this to the {policy.role_en(role)}", f"dit mag: {policy.role_nl(role)}")
    who = [role for role, acts in policy.back_office.items() if act in acts]
    return deny(
        "only these may do this: " + (", ".join(policy.role_en(role) for role in who) or "nobody"),
        "dit mag alleen: " + (", ".join(policy.role_nl(role) for role in who) or "niemand"),
    )


def may_enter_back_office(policy: Policy, person: Person) -> Verdict:
    """Decide whether this person gets into the back office at all (application administrators without content do)."""
    roles = [role for role in policy.back_office if person.holds(role)]
    if person.employed and (roles or person.holds("app_admin")):
        return allow("a back-office role", "een rol in de back office")
    return deny("no back-office role", "geen rol in de back office")


def judge_role(policy: Policy, person: Person, roles: tuple[str, ...], what: str, wat: str) -> Verdict:
    """Decide whether this person holds one of these roles now, for himself or as a substitute."""
    if person.employed and any(person.holds(role) for role in roles):
        return allow(f"may {what}", f"mag {wat}")
    names_en = ", ".join(policy.role_en(role) for role in roles)
    names_nl = ", ".join(policy.role_nl(role) for role in roles)
    return deny(f"only these may {what}: {names_en}", f"dit mag alleen ({wat}): {names_nl}")


def judge_intake(
    policy: Policy,
    person: Person,
    *,
    kind: CaseKind,
    learner: str | None = None,
    involvements: tuple[Involvement, ...] = (),
) -> Verdict:
    """Decide whether this person may register a case of this kind. A learning request only by the officer himself."""
    if not any(kind in purpose.case_kinds for purpose in policy.purposes.values()) and kind not in policy.hold.reasons:
        return deny(f"the policy knows no case of kind {kind}", f"het beleid kent geen dossier van soort {kind}")
    if REGISTERS in person.roles:
        return judge_intake_by_program(kind)
    if kind is not CaseKind.LEARNING:
        return judge_role(policy, person, policy.casework.register, "register a case", "een dossier registreren")
    if not person.employed or learner != person.id:
        return deny("only the officer himself may ask for this", "alleen de medewerker zelf mag dit vragen")
    ties = next(purpose.only_if for purpose in policy.purposes.values() if kind in purpose.case_kinds)
    for involvement in involvements:
        tied = (Tie.RECORDER in ties and involvement.recorder == person.id) or (
            Tie.PRESENT in ties and person.id in involvement.present
        )
        if ties and not tied:
            return deny(
                "the officer did not make this recording and is not on it",
                "de medewerker heeft deze opname niet gemaakt en staat er niet op",
            )
    if not involvements:
        return deny("a learning request names its recordings", "een leerverzoek noemt de opnamen")
    return allow("the officer's own footage", "eigen beelden van de medewerker")


def judge_intake_by_program(kind: CaseKind) -> Verdict:
    """Decide whether a program that may register cases registers this kind: what is asked by others, never learning."""
    if kind is CaseKind.LEARNING:
        return deny("only the officer himself may ask for this", "alleen de medewerker zelf mag dit vragen")
    return allow("a program that registers cases", "een programma dat dossiers registreert")


def judge_decision(policy: Policy, person: Person, *, kind: CaseKind, involvement: Involvement) -> Verdict:
    """Decide whether this person decides on such a case: the policy's role, or who takes over when it is involved."""
    for purpose in policy.purposes.values():
        if kind not in purpose.case_kinds or purpose.decided_by is None:
            continue
        role = purpose.decided_by
        if role in involvement.roles:
            role = purpose.if_involved.get(role, role)
        if person.id in involvement.people:
            return deny(
                "who made the recording or was there does not decide", "wie de opname maakte of erbij was, beslist niet"
            )
        return judge_role(policy, person, (role,), "decide on this case", "op dit dossier beslissen")
    return judge_role(policy, person, policy.casework.handle, "decide on this case", "op dit dossier beslissen")


def judge_destruction(
    policy: Policy,
    person: Person,
    *,
    state: str,
    open_holds: int,
    expired: bool,
    proposed_by: str | None,
) -> Verdict:
    """Decide on destruction by hand. `proposed_by` is who asked first where it takes two. A hold always wins."""
    verdict = judge_back_office(policy, person, Act.DESTROY)
    if not verdict:
        return verdict
    if open_holds > 0:
        return deny("a hold stands on this recording", "op deze opname staat bewaarplicht")
    if state in ("destroying", "destroyed"):
        return deny("it was destroyed already", "het is al vernietigd")
    if not RECORDING.judge("due" if state == "held" else state, "destroy"):
        return deny("it is not here yet", "het is nog niet binnen")
    if not expired and not policy.manual_delete.early_allowed:
        return deny("before its day nobody may destroy it", "vóór de dag mag niemand vernietigen")
    if proposed_by == person.id:
        return deny("the second person is another person", "de tweede persoon is een ander")
    if proposed_by is None and policy.manual_delete.quorum > 1:
        return allow("may propose; a second person confirms", "mag voorstellen; een tweede bevestigt")
    return allow("may destroy", "mag vernietigen")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """A disclosure that somebody wants to make."""

    case_kind: CaseKind
    case_open: bool
    basis: CaseKind
    recipient: str
    demand_facts: Mapping[str, str]
    """What is known of the case: of a demand, and what was decided."""


DEMAND_FIELDS = ("authority", "reference", "date", "article", "scope")
"""What is recorded of a demand before anything is opened or handed over on it."""


DATA_SUBJECT = "data_subject"
"""Who is on the footage and asked to see it: gets a copy where the policy gives one, and is no recipient otherwise."""


def judge_disclosure(policy: Policy, person: Person, hand_over: HandOver) -> Verdict:
    """Decide whether this person may hand over on this basis to this recipient."""
    if hand_over.recipient == DATA_SUBJECT:
        verdict = judge_copy(policy, hand_over)
    else:
        verdict = _judge_recipient(policy, hand_over)
    return _judge_who(policy, person) if verdict else verdict


def judge_copy(policy: Policy, hand_over: HandOver) -> Verdict:
    """Decide whether who asked to see the footage may take a copy home: that is the policy's choice, town by town."""
    purposes = [each for each in policy.purposes.values() if hand_over.case_kind in each.case_kinds]
    if hand_over.case_kind is not CaseKind.ACCESS_REQUEST or hand_over.basis is not hand_over.case_kind:
        return deny("only who asked for access gets a copy", "alleen wie om inzage vroeg, krijgt een kopie")
    if not any(each.copy is not Copy.NO_COPY for each in purposes):
        return deny(
            "the policy lets who asked see the footage here, and gives no copy",
            "het beleid kent alleen inzage: er gaat geen kopie mee",
        )
    if not hand_over.case_open:
        return deny("there is no open case", "er is geen open dossier")
    if hand_over.demand_facts.get("decision") not in ("granted", "partly"):
        return deny("the request was not granted", "het verzoek is niet toegewezen")
    return allow("the policy gives a copy", "het beleid geeft een kopie")


def _judge_recipient(policy: Policy, hand_over: HandOver) -> Verdict:
    told = policy.disclosure
    if hand_over.recipient not in told.recipients:
        return deny("footage goes to police or public prosecution only", "beelden gaan alleen naar politie of OM")
    if hand_over.basis not in told.bases or hand_over.basis is not hand_over.case_kind:
        return deny("there is no basis to hand over", "er is geen grondslag om te verstrekken")
    if not hand_over.case_open:
        return deny("there is no open case", "er is geen open dossier")
    if hand_over.basis is CaseKind.OM_DEMAND:
        missing = [field for field in DEMAND_FIELDS if not hand_over.demand_facts.get(field, "").strip()]
        if missing:
            return deny(
                "the demand is not recorded: " + ", ".join(missing),
                "van de vordering ontbreekt: " + ", ".join(missing),
            )
    return allow("a basis and a recipient", "een grondslag en een ontvanger")


def _judge_who(policy: Policy, person: Person) -> Verdict:
    told = policy.disclosure
    if person.employed and told.by in person.roles:
        return allow("hands over in his own role", "verstrekt in eigen functie")
    if person.employed and told.by in person.substitutes:
        by_name = told.substitute is None or told.substitute in person.roles
        return allow(
            "hands over as a substitute" if by_name else "hands over as a regular substitute",
            "verstrekt als vervanger" if by_name else "verstrekt als regulier vervanger",
        )
    appointers = ", ".join(policy.role_nl(role) for role in policy.substitution.appointers)
    return deny(
        f"only the {policy.role_en(told.by)} hands over; a substitute must first be appointed",
        f"alleen de {policy.role_nl(told.by)} verstrekt; een vervanger moet eerst worden aangewezen door: {appointers}",
    )


OVERSIGHT = ("privacy_officer", "dpo", "auditor")
"""Roles that may ask afterwards who viewed a recording, beside those who are on it."""


def judge_hindsight(policy: Policy, person: Person, involvement: Involvement) -> Verdict:
    """Decide whether this person may know who viewed these: whoever is on them, or watches over the rules."""
    if person.employed and person.id in involvement.people:
        return allow("was there", "was erbij")
    roles = tuple(role for role in OVERSIGHT if role in policy.roles)
    return judge_role(policy, person, roles, "ask who viewed this", "vragen wie dit bekeek")


def judge_place(policy: Policy, place: str | None, *, no_third_parties: bool) -> Verdict:
    """Decide whether viewing may take place here."""
    if policy.viewing.place_required and place not in policy.viewing.places:
        return deny("this is not a registered viewing place", "dit is geen geregistreerde kijkplek")
    if policy.viewing.confirm_no_third_parties and not no_third_parties:
        return deny("confirm that nobody else can watch", "bevestig dat niemand kan meekijken")
    return allow("a viewing place", "een kijkplek")


def judge_area(policy: Policy, area: str, *, start: datetime, now: datetime) -> Verdict:
    """Decide whether cameras may be used in this area yet; areas without a step may be used from the start."""
    for step in policy.rollout.steps:
        if area in step.areas and day_of(now) < add_months(day_of(start), step.after_months):
            return deny(
                f"{area} starts after {step.after_months} months", f"{area} begint na {step.after_months} maanden"
            )
    return allow("cameras are in use here", "hier zijn camera's in gebruik")


def judge_wearer(
    policy: Policy, *, function: str | None, department: str | None, hired: bool, trained: bool
) -> Verdict:
    """Decide whether somebody may wear a camera: function, an assignment in or for the cluster, training."""
    if function not in policy.wearers.functions:
        return deny("this function wears no camera", "deze functie draagt geen camera")
    if department != policy.wearers.cluster:
        return deny("not assigned to the cluster that wears them", "niet ingezet bij het cluster dat ze draagt")
    if hired and not policy.wearers.hired_staff:
        return deny("hired staff wear no camera here", "ingehuurde medewerkers dragen hier geen camera")
    if policy.wearers.training_required and not trained:
        return deny("training comes first", "eerst de opleiding")
    return allow("may wear a camera", "mag een camera dragen")


def place_is_forbidden(policy: Policy, place: PlaceKind, *, exception: bool) -> bool:
    """Whether a recording made there is restricted until somebody decides."""
    return place in policy.locations.forbidden and not exception

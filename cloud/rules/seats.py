"""Who may sit down together to view, for which reason: never one person twice, never somebody who was involved.

Used by the desk to say it early, and by the Kluis to decide it. Sources: the seats per purpose in the policy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations

from broker.wire.policy import REQUESTING_OFFICER, ExcludeInvolved, Initiator, Policy, Purpose, Tie
from cloud.rules.verdicts import Verdict, allow, deny


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One official at one moment: own roles, and the roles held for an absent other (role -> who is replaced)."""

    id: str
    roles: frozenset[str]
    substitutes: Mapping[str, str] = field(default_factory=dict)
    employed: bool = True
    department: str | None = None

    def holds(self, role: str) -> bool:
        """Whether this person may act in this role now, for himself or as a substitute."""
        return role in self.roles or role in self.substitutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Involvement:
    """Who made the recordings or was there. `roles` are the roles of which every holder was involved."""

    recorder: str | None = None
    present: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()

    @property
    def people(self) -> frozenset[str]:
        """Everybody who made a recording or was there."""
        return self.present | ({self.recorder} if self.recorder else frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A seat as it was taken: in which role, and for whom when as a substitute."""

    person: str
    role: str
    substitute_of: str | None = None


def involvement_of(*, recorder: str | None, present: Iterable[str], people: Iterable[Person]) -> Involvement:
    """Return the involvement, with the roles of which no uninvolved holder by appointment is left."""
    involved = frozenset(present) | ({recorder} if recorder else frozenset())
    taken: set[str] = set()
    free: set[str] = set()
    for person in people:
        if person.employed:
            (taken if person.id in involved else free).update(person.roles)
    return Involvement(recorder=recorder, present=frozenset(present), roles=frozenset(taken - free))


def judge_pair(
    *,
    policy: Policy,
    purpose: str,
    case_kind: str,
    case_open: bool,
    requester: Person,
    second: Person | None,
    involvement: Involvement,
    learner: str | None = None,
) -> Verdict:
    """Decide whether these two may view for this purpose in this case. `learner` is the officer of a learning case."""
    told = policy.purposes.get(purpose)
    if told is None:
        return deny(f"the policy knows no purpose {purpose!r}", f"het beleid kent geen doel {purpose!r}")
    if not case_open:
        return deny("there is no open case", "er is geen open dossier")
    if case_kind not in told.case_kinds:
        return deny(
            f"a case of kind {case_kind!r} does not carry the purpose {purpose!r}",
            f"een dossier van soort {case_kind!r} draagt het doel {purpose!r} niet",
        )
    people = (requester,) if second is None else (requester, second)
    if len(people) < len(told.seats):
        return deny("a second person is needed", "er is een tweede persoon nodig")
    if len({person.id for person in people}) < len(people):
        return deny("one person never takes two seats", "één persoon neemt nooit twee plaatsen in")
    for person in people:
        verdict = _judge_person(policy, told, person, involvement, learner)
        if not verdict:
            return verdict
    if told.initiator is Initiator.OFFICER_SELF:
        verdict = _judge_learner(told, requester, involvement, learner)
        if not verdict:
            return verdict
    if seating(policy=policy, purpose=purpose, people=people, involvement=involvement, learner=learner) is None:
        return _name_the_missing_seat(policy, told, people, involvement, learner)
    return allow("all seats are taken by eligible people", "alle plaatsen zijn bezet door bevoegde mensen")


def seating(
    *, policy: Policy, purpose: str, people: tuple[Person, ...], involvement: Involvement, learner: str | None = None
) -> tuple[Seat, ...] | None:
    """Return who takes which seat in which role, or None when these people do not fill the seats.

    More people than seats (a second person where the policy asks for one) must each be able to take one.
    """
    told = policy.purposes[purpose]
    seats = [_roles_of_seat(told, seat, involvement) for seat in told.seats]
    while len(seats) < len(people):
        seats.append(seats[-1])
    for order in permutations(people, len(seats)):
        taken = [_take(person, seat, learner) for person, seat in zip(order, seats, strict=True)]
        if all(seat is not None for seat in taken):
            found = tuple(seat for seat in taken if seat is not None)
            if not _stands_in_for_the_other(found):
                return found
    return None


def _roles_of_seat(told: Purpose, seat: tuple[str, ...], involvement: Involvement) -> tuple[str, ...]:
    """Roles that may take the seat: when every holder of a role is involved, the named role takes it over."""
    return tuple(told.if_involved.get(role, role) if role in involvement.roles else role for role in seat)


def _take(person: Person, seat: tuple[str, ...], learner: str | None) -> Seat | None:
    for role in seat:
        if role == REQUESTING_OFFICER:
            if person.id == learner:
                return Seat(person=person.id, role=role)
        elif role in person.roles:
            return Seat(person=person.id, role=role)
    for role in seat:
        if role in person.substitutes:
            return Seat(person=person.id, role=role, substitute_of=person.substitutes[role])
    return None


def _stands_in_for_the_other(seats: tuple[Seat, ...]) -> bool:
    """A substitute takes the place of someone absent: he cannot sit beside the one he replaces."""
    sitting = {seat.person for seat in seats}
    return any(seat.substitute_of in sitting for seat in seats)


def _judge_person(
    policy: Policy, told: Purpose, person: Person, involvement: Involvement, learner: str | None
) -> Verdict:
    if not person.employed:
        return deny("one of them no longer works here", "een van hen is niet meer in dienst")
    learns = told.initiator is Initiator.OFFICER_SELF and person.id == learner
    excluded = policy.viewing.exclude_involved is ExcludeInvolved.ALL_BUT_LEARNER and not learns
    if excluded and person.id in involvement.people:
        return deny(
            "one of them made the recording or was there",
            "een van hen maakte de opname of was erbij",
        )
    if policy.viewing.pool.other_department and person.department in (None, policy.wearers.cluster):
        return deny(
            "viewers come from another department than the officers",
            "kijkers komen van een andere afdeling dan de handhavers",
        )
    return allow("not involved", "niet betrokken")


def _judge_learner(told: Purpose, requester: Person, involvement: Involvement, learner: str | None) -> Verdict:
    if learner is None or requester.id != learner:
        return deny("only the officer himself may ask for this", "alleen de medewerker zelf mag dit vragen")
    ties = {Tie.RECORDER: learner == involvement.recorder, Tie.PRESENT: learner in involvement.present}
    if told.only_if and not any(ties[tie] for tie in told.only_if):
        return deny(
            "the officer did not make this recording and is not on it",
            "de medewerker heeft deze opname niet gemaakt en staat er niet op",
        )
    return allow("the officer's own footage", "eigen beelden van de medewerker")


def _name_the_missing_seat(
    policy: Policy, told: Purpose, people: tuple[Person, ...], involvement: Involvement, learner: str | None
) -> Verdict:
    for seat in told.seats:
        roles = _roles_of_seat(told, seat, involvement)
        if not any(_take(person, roles, learner) for person in people):
            return deny(
                "nobody here may take the seat of " + " or ".join(policy.role_en(role) for role in roles),
                "niemand hier mag de plaats innemen van " + " of ".join(policy.role_nl(role) for role in roles),
            )
    if len(people) > len(told.seats):
        return deny("one of them may not take a seat", "een van hen mag geen plaats innemen")
    return deny(
        "these two cannot fill the two seats: each seat needs its own person",
        "deze twee kunnen de twee plaatsen niet samen vullen: elke plaats vraagt een eigen persoon",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedSubstitution:
    """Somebody is to act in a role for somebody who is absent."""

    role: str
    replaced: str
    substitute: str
    appointed_by: Person
    starts_in_past: bool
    days: float
    substitute_is_employed: bool
    replaced_holds_role: bool
    seats_of_substitute: frozenset[str] = frozenset()  # roles he already fills in cases that are open now


def judge_substitution(policy: Policy, proposed: ProposedSubstitution) -> Verdict:
    """Decide whether this substitution may be recorded; see the lifecycle *substitution* for what follows."""
    told = policy.substitution
    if not told.allowed:
        return deny("this policy knows no substitution", "dit beleid kent geen vervanging")
    if not any(proposed.appointed_by.holds(role) for role in told.appointers):
        names = ", ".join(policy.role_nl(role) for role in told.appointers)
        return deny(
            "only these may appoint: " + ", ".join(policy.role_en(role) for role in told.appointers),
            f"alleen deze functies wijzen aan: {names}",
        )
    if proposed.appointed_by.id == proposed.substitute:
        return deny("nobody appoints himself", "niemand wijst zichzelf aan")
    if proposed.replaced == proposed.substitute:
        return deny("nobody stands in for himself", "niemand vervangt zichzelf")
    if proposed.role not in policy.roles:
        return deny("the policy knows no such role", "het beleid kent deze rol niet")
    if not proposed.replaced_holds_role:
        return deny("the person replaced does not hold this role", "wie vervangen wordt heeft deze rol niet")
    if not proposed.substitute_is_employed:
        return deny("the substitute does not work here", "de vervanger werkt hier niet")
    if proposed.starts_in_past:
        return deny("a substitution never starts in the past", "een vervanging begint nooit in het verleden")
    if proposed.days <= 0:
        return deny("a substitution ends after it starts", "een vervanging eindigt na haar begin")
    if told.at_most_days is not None and proposed.days > told.at_most_days:
        return deny(
            f"a substitution lasts at most {told.at_most_days} days",
            f"een vervanging duurt ten hoogste {told.at_most_days} dagen",
        )
    for purpose in policy.purposes.values():
        filled = [seat for seat in purpose.seats if set(seat) & proposed.seats_of_substitute]
        wanted = [seat for seat in purpose.seats if proposed.role in seat]
        if filled and wanted and filled[0] != wanted[0]:
            return deny(
                "this person already fills the other seat in an open case",
                "deze persoon vult al de andere plaats in een open dossier",
            )
    return allow("the substitution may be recorded", "de vervanging kan worden vastgelegd")


def judge_pool(policy: Policy, *, role: str, holders: int) -> Verdict:
    """Decide whether one more person may get this role while `holders` people hold it."""
    pool = policy.viewing.pool
    if role == pool.role and pool.max_size is not None and holders >= pool.max_size:
        return deny(
            f"at most {pool.max_size} people hold this role at one time; withdraw one first",
            f"ten hoogste {pool.max_size} mensen hebben deze rol tegelijk; trek er eerst een in",
        )
    return allow("there is room", "er is plaats")

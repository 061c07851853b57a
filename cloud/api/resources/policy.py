"""What the municipality decided: the policy in force, its earlier versions, a next one, and the figures."""

from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec

from broker.wire.policy import Policy
from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Created, Given, Group, Instant, Raw, Shown, door, operation
from cloud.api.resources.rooms import Signed
from cloud.casework.adoption import PolicyProposal
from cloud.desk.keys import statement_of
from cloud.desk.pages.room import sign_with_software
from cloud.desk.rules.doors import Door
from cloud.desk.town import deny
from cloud.rules.lint import lint
from cloud.rules.policy_change import fields_changed
from cloud.rules.programs import Scope
from cloud.rules.quarters import latest, read_quarter
from cloud.rules.statistics import Figure
from cloud.rules.terms import day_of

POLICY: Final = Group(
    name="beleid", purpose="Wat de gemeente besloot staat als gegevens vast, en een wijziging gaat met twee mensen."
)
SEES: Final = door(Door.POLICY)
LONGEST_DOCUMENT: Final = 200_000


class TensionShown(Shown):
    """Where a policy rubs against a law or a guideline; it counts all the same."""

    field: str
    article: str
    because: str


class PolicyShown(Shown):
    """The policy in force, with every rule in it under the names that its file has, and what to know about it."""

    version: int
    title: str
    org: str
    rules: dict[str, Any]
    tensions: tuple[TensionShown, ...]


class VersionShown(Shown):
    """One version: from when it counts, and the hash of its file."""

    version: int
    adopted_at: Instant
    sha256: str


class VersionsShown(Shown):
    """Every version, newest first."""

    items: tuple[VersionShown, ...]


class FieldChanged(Shown):
    """One rule that says something else, by its name in the file."""

    field: str
    was: str
    becomes: str


class ProposalShown(Shown):
    """A version that waits for two signatures. `challenge`: the 32 bytes to sign, in hexadecimal.

    `brought_forward`: how many recordings that are here already go earlier by it.
    """

    id: str
    version: int
    made_by: str
    made_at: Instant
    signers: tuple[str, ...]
    changes: tuple[FieldChanged, ...]
    tensions: tuple[TensionShown, ...]
    brought_forward: int
    challenge: str


class AdoptedShown(Shown):
    """Whether the second signature put it into force."""

    in_force: bool


class FigureShown(Shown):
    """One table: per category a count, null where it is suppressed because it could point at a person.

    No cells where no division can be shown. The total is null where it is itself too small.
    """

    dimension: str
    cells: dict[str, int | None]
    total: int | None
    threshold: int


class FiguresShown(Shown):
    """Everything that may be counted over one quarter. Never per officer."""

    quarter: str
    items: tuple[FigureShown, ...]


class ClockShown(Shown):
    """The town's time."""

    at: Instant


class VersionPath(Given):
    """Which version."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class ProposalPath(Given):
    """Which proposal."""

    proposal: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]


class QuarterAsked(Given):
    """Which quarter; the last one that was counted, if not said. One is counted four weeks after its end."""

    quarter: Annotated[str, msgspec.Meta(pattern=r"^2[0-9]{3}-[1-4]$")] | None = None


class DocumentGiven(Given):
    """The file of the next version (TOML)."""

    document: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_DOCUMENT)]


class Later(Given):
    """How much later it becomes."""

    seconds: Annotated[int, msgspec.Meta(ge=1, le=366 * 86_400)]


@operation("GET", "/beleid", "Het beleid dat geldt", group=POLICY, program=Scope.POLICY)
async def policy(call: Call) -> PolicyShown:
    """Return the policy in force."""
    now = await call.town.policy()
    return PolicyShown(
        version=now.version,
        title=now.policy.title,
        org=now.org,
        rules=msgspec.to_builtins(now, enc_hook=dict),
        tensions=_tensions(call, now),
    )


@operation("GET", "/beleidsversies", "Alle versies van het beleid", group=POLICY, program=Scope.POLICY, roles=SEES)
async def versions(call: Call) -> VersionsShown:
    """Return every version, newest first."""
    found = await call.town.policies.versions(call.org)
    return VersionsShown(
        items=tuple(VersionShown(version=version, adopted_at=at, sha256=sha256) for version, at, sha256 in found)
    )


@operation("GET", "/beleidsversies/{versie}", "Eén versie, zoals vastgesteld", group=POLICY,
           program=Scope.POLICY, roles=SEES, media="application/toml")  # fmt: skip
async def document(call: Call, path: VersionPath) -> Raw:
    """Return a version as it was adopted, byte for byte."""
    text = await call.town.policies.document(call.org, path.version)
    return Raw(text.encode(), file_name=f"beleid-{call.org}-{path.version}.toml")


@operation("POST", "/beleidsvoorstellen", "Een nieuwe versie voorstellen", group=POLICY, roles=SEES, created=True,
           gives=ProposalShown, refuses=(Code.CONFLICT,))  # fmt: skip
async def propose(call: Call, body: DocumentGiven) -> Created:
    """Take in the file of the next version; in a demonstration its proposer signs with it."""
    made = await call.town.policy_office.propose(body.document, by=call.me.id)
    if call.town.keys is None:
        await call.town.policy_office.sign(made.id, sign_with_software(call.town, call.me.id, made.challenge))
    return Created(await _proposal(call, made), f"/beleidsvoorstellen/{made.id}")


@operation("GET", "/beleidsvoorstellen/{voorstel}", "Wat op handtekeningen wacht", group=POLICY, roles=SEES)
async def proposal(call: Call, path: ProposalPath) -> ProposalShown:
    """Return the proposal that waits, with what it changes."""
    return await _proposal(call, _waiting(call, path))


@operation("GET", "/beleidsvoorstellen/{voorstel}/stuk", "Wat er getekend wordt", group=POLICY, roles=SEES,
           media="application/toml")  # fmt: skip
async def proposed_document(call: Call, path: ProposalPath) -> Raw:
    """Return the very bytes that both sign: hash these yourself."""
    return Raw(_waiting(call, path).document)


@operation("POST", "/beleidsvoorstellen/{voorstel}/ondertekeningen", "Een nieuwe versie tekenen", group=POLICY,
           roles=SEES, refuses=(Code.CONFLICT,))  # fmt: skip
async def sign_proposal(call: Call, path: ProposalPath, body: Signed) -> AdoptedShown:
    """Sign what waits; with the second signature it comes into force, in the Kluis first."""
    waiting, town = _waiting(call, path), call.town
    if town.keys is None:
        statement = sign_with_software(town, call.me.id, waiting.challenge)
    else:
        statement = statement_of(call.me.id, body.assertion)
    return AdoptedShown(in_force=await town.policy_office.sign(waiting.id, statement) is not None)


@operation("DELETE", "/beleidsvoorstellen/{voorstel}", "Een voorstel intrekken", group=POLICY, roles=SEES)
async def withdraw_proposal(call: Call, path: ProposalPath) -> None:
    """Let what waits fall."""
    await call.town.policy_office.withdraw(_waiting(call, path).id, by=call.me.id)


@operation("GET", "/cijfers", "Cijfers over een kwartaal", group=POLICY, program=Scope.FIGURES,
           roles=door(Door.FIGURES), refuses=(Code.CONFLICT,))  # fmt: skip
async def figures(call: Call, query: QuarterAsked) -> FiguresShown:
    """Return what may be counted over one whole quarter, with small counts suppressed; none before it is counted."""
    quarter = read_quarter(query.quarter) if query.quarter else latest(call.town.now(), count=1)[0]
    found = await call.town.casework.figures(call.org, quarter)
    return FiguresShown(
        quarter=quarter.name,
        items=tuple(figure_shown(each) for each in found),
    )


@operation("POST", "/klokzetten", "De klok vooruit zetten (alleen demonstratie)", group=POLICY)
async def move_clock(call: Call, body: Later) -> ClockShown:
    """Let the whole town be later; the ledger says by whom and by how much."""
    demo = call.town.demo
    if demo is None:
        await deny(call.request, "clock", "Dit is geen demonstratie.")
        raise refuse(Code.NOT_ALLOWED, "clock", expected="a demonstration", got="earnest")
    facts = {"seconds": body.seconds}
    await call.town.ledger.append("clock.moved", subject=call.org, actor=call.me.id, at=call.town.now(), facts=facts)
    at = demo.move_clock(timedelta(seconds=body.seconds))
    call.town.hub.publish(call.org, "reset", {})
    return ClockShown(at=at)


def figure_shown(figure: Figure) -> FigureShown:
    """Return a table as callers see it."""
    return FigureShown(
        dimension=figure.dimension, cells=dict(figure.cells), total=figure.total, threshold=figure.threshold
    )


def _waiting(call: Call, path: ProposalPath) -> PolicyProposal:
    found = call.town.policy_office.proposal()
    if found is None or found.id != path.proposal:
        raise refuse(Code.NOT_FOUND, "proposal", expected="the one that waits", got="another")
    return found


def _tensions(call: Call, policy: Policy) -> tuple[TensionShown, ...]:
    found = lint(policy, today=day_of(call.town.now()))
    return tuple(TensionShown(field=each.field, article=each.article, because=each.zegt) for each in found)


async def _proposal(call: Call, made: PolicyProposal) -> ProposalShown:
    changed = fields_changed(await call.town.policy(), made.policy)
    return ProposalShown(
        id=made.id,
        version=made.policy.version,
        made_by=made.made_by,
        made_at=made.made_at,
        signers=made.signers,
        changes=tuple(FieldChanged(field=each.name, was=each.was, becomes=each.becomes) for each in changed),
        tensions=_tensions(call, made.policy),
        brought_forward=await call.town.policies.brought_forward(made.policy),
        challenge=made.challenge.hex(),
    )


OPERATIONS: Final = (
    policy,
    versions,
    document,
    propose,
    proposal,
    proposed_document,
    sign_proposal,
    withdraw_proposal,
    figures,
    move_clock,
)

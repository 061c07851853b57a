"""Looking back to learn: asked for by the officer himself, of his own footage; decided by the coordinator.

When the coordinator made the recording or was there, the policy says who takes over; that is computed, not chosen.
"""

from datetime import datetime
from typing import Any, Final

from aiohttp import web

from broker.wire.policy import CaseKind, Policy
from broker.wire.refusals import Code, refuse
from cloud.casework.cases import Case
from cloud.casework.casework import RecordingCard
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.rules.doors import Door
from cloud.desk.town import Town, deny, form, may_open, page, someone_of, town_of, words_of
from cloud.rules.rights import judge_decision, judge_intake

STEPS: Final = {"goedkeuren": "approve", "weigeren": "refuse", "intrekken": "withdraw", "afsluiten": "close"}


async def show(request: web.Request) -> web.StreamResponse:
    """One's own footage that one may ask for, one's own requests, and those that one decides on."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    policy = await town.policy()
    if not may_open(request, Door.REPORTS) or not any(
        CaseKind.LEARNING in each.case_kinds for each in policy.purposes.values()
    ):
        return await deny(request, "leren", words("Terugkijken om te leren kan hier niet, of niet met uw functie."))
    everything = await town.casework.cases(town.org, kinds=(CaseKind.LEARNING,))
    mine = [case for case in everything if case.facts.get("learner") == someone.id]
    return await page(
        request,
        "learning.html",
        own=await own_footage(town, someone.id, policy),
        mine=mine,
        to_decide=[case for case in everything if await decides_on(town, policy, case, someone.id)],
        last_days={case.id: await last_day_of(town, case) for case in everything},
        names=await town.people.names(),
        state_names=learning_states(words),
        chosen=request.query.get("opname", ""),
        **await waiting_alarms(request),
    )


async def ask(request: web.Request) -> web.StreamResponse:
    """Ask to look back at one's own recording."""
    town, words, someone = town_of(request), words_of(request), someone_of(request)
    fields = await form(request)
    if not fields.get("opname"):
        raise refuse(Code.MALFORMED, words("verzoek"), expected=words("een opname"), got=words("niets"))
    await town.casework.register_case(
        town.org,
        by=someone.id,
        kind=CaseKind.LEARNING,
        summary=fields.get("vraag") or words("terugkijken om te leren"),
        recordings=(fields["opname"],),
    )
    raise web.HTTPSeeOther("/leren")


async def decide(request: web.Request) -> web.StreamResponse:
    """Approve it, refuse it with a reason, withdraw or close it; who may is decided by casework."""
    town, someone, case = town_of(request), someone_of(request), request.match_info["case"]
    fields = await form(request)
    step = STEPS.get(fields.get("doe", ""))
    if step is None:
        raise refuse(Code.MALFORMED, "learning", expected=", ".join(STEPS), got=fields.get("doe", "nothing"))
    told = {"reason": fields["reden"]} if fields.get("reden") and step in ("approve", "refuse") else {}
    if (await town.casework.case(town.org, case)).kind is not CaseKind.LEARNING:
        raise refuse(Code.NOT_FOUND, "learning", expected="a learning request", got=case)
    await town.casework.take_step(town.org, case, step, by=someone.id, facts=told)
    raise web.HTTPSeeOther("/leren")


def learning_states(words: Any) -> dict[str, tuple[str, str]]:
    """Return what each state of a learning request is called, and how its badge looks."""
    return {
        "requested": (words("gevraagd"), "info"),
        "approved": (words("goedgekeurd"), "good"),
        "refused": (words("geweigerd"), "bad"),
        "closed": (words("afgesloten"), ""),
    }


async def own_footage(town: Town, official: str, policy: Policy) -> list[RecordingCard]:
    """Return the recordings that this officer may ask for: made by himself, or on which he stood."""
    person, found = await town.casework.person(town.org, official), []
    cards = [card for card in await town.casework.recordings(town.org) if card.state in ("retained", "held")]
    involvements = await town.casework.involvements(town.org, [card.id for card in cards])
    for card, involvement in zip(cards, involvements, strict=True):
        involved = (involvement,)
        if judge_intake(policy, person, kind=CaseKind.LEARNING, learner=official, involvements=involved):
            found.append(card)
    return found


async def decides_on(town: Town, policy: Policy, case: Case, official: str) -> bool:
    """Whether this person decides on this request now."""
    if case.state != "requested":
        return False
    person = await town.casework.person(town.org, official)
    involvement = await town.casework.involvement(town.org, case.recordings)
    return bool(judge_decision(policy, person, kind=case.kind, involvement=involvement))


async def last_day_of(town: Town, case: Case) -> datetime | None:
    """Return until when it can be looked at: learning keeps nothing, so the first that goes counts (None: it went)."""
    cards = await town.casework.recordings(town.org, case=case.id)
    if any(card.state in ("destroying", "destroyed") for card in cards):
        return None
    return min((card.expires_at for card in cards if not card.held_by), default=None)


ROUTES: Final = (
    web.get("/leren", show),
    web.post("/leren", ask),
    web.post("/leren/{case}/besluit", decide),
)

"""The policy at the desk: what it says, what somebody should know about it, and a new version put into force by two."""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from broker.wire.policy import Policy
from broker.wire.refusals import Code, Refused, refuse
from cloud.casework.adoption import PolicyProposal
from cloud.casework.office import Denied
from cloud.desk.keys import statement_of
from cloud.desk.pages.alerts import waiting_alarms
from cloud.desk.pages.keys import NO_STORE, problem, read_answer
from cloud.desk.pages.room import sign_with_software
from cloud.desk.rules.doors import Door
from cloud.desk.town import Town, deny, form, may_open, noting_denials, page, someone_of, town_of, words_of
from cloud.rules.explain import explain
from cloud.rules.lint import lint
from cloud.rules.policy_change import fields_changed, judge_confirmation, judge_proposal, words_changed
from cloud.rules.terms import day_of


async def show(request: web.Request) -> web.StreamResponse:
    """The version in force, those before it, and the one that waits."""
    town, words = town_of(request), words_of(request)
    if not may_open(request, Door.POLICY):
        return await deny(request, "beleid", words("Uw functie geeft geen toegang tot deze bladzijde."))
    unreachable = not await _follow(town)
    policy, proposal = await town.policy(), town.policy_office.proposal()
    return await page(
        request,
        "policies.html",
        explained=explain(policy, words.language),
        tensions=lint(policy, today=day_of(town.now())),
        versions=await town.policies.versions(town.org),
        names=await town.people.names(),
        unreachable=unreachable,
        proposal=proposal,
        **await _what_may(request, policy, proposal),
        **(await _what_changes(request, policy, proposal) if proposal else {}),
        **await waiting_alarms(request),
    )


async def carry_document(request: web.Request) -> web.StreamResponse:
    """A version as it was adopted, byte for byte."""
    town = town_of(request)
    if not may_open(request, Door.POLICY):
        return await deny(request, "beleid", words_of(request)("Uw functie geeft geen toegang tot deze bladzijde."))
    number = int(request.match_info["version"])
    document = await town.policies.document(town.org, number)
    name = f'attachment; filename="beleid-{town.org}-{number}.toml"'
    return web.Response(body=document, content_type="application/toml", headers={"Content-Disposition": name})


async def propose(request: web.Request) -> web.StreamResponse:
    """Take in the file of the next version; in a demonstration its proposer signs with it."""
    town, someone = town_of(request), someone_of(request)
    if not may_open(request, Door.POLICY):
        return await deny(request, "beleid", words_of(request)("Uw functie geeft geen toegang tot deze bladzijde."))
    handed_in = (await request.post()).get("bestand")
    if not isinstance(handed_in, web.FileField):
        raise refuse(Code.MALFORMED, "policy", expected="a policy file", got="none")
    try:
        document = handed_in.file.read().decode()
    except UnicodeDecodeError as cause:
        raise refuse(Code.MALFORMED, "policy", expected="text in UTF-8", got="other bytes") from cause
    proposal = await town.policy_office.propose(document, by=someone.id)
    if town.keys is None:
        await town.policy_office.sign(proposal.id, sign_with_software(town, someone.id, proposal.challenge))
    raise web.HTTPSeeOther("/beleid")


async def show_document(request: web.Request) -> web.StreamResponse:
    """The very bytes that are signed: a page hashes these itself."""
    waiting = town_of(request).policy_office.proposal()
    if not may_open(request, Door.POLICY) or waiting is None or waiting.id != request.match_info["proposal"]:
        raise web.HTTPNotFound
    return web.Response(body=waiting.document, content_type="application/toml", headers=NO_STORE)


async def sign(request: web.Request) -> web.StreamResponse:
    """Sign what waits; with the second signature it comes into force, in the Kluis first."""
    town, someone, proposal = town_of(request), someone_of(request), request.match_info["proposal"]
    if town.keys is None:
        waiting = town.policy_office.proposal()
        if waiting is None or waiting.id != proposal:
            raise refuse(Code.NOT_FOUND, "proposal", expected="the one that waits", got="another")
        await town.policy_office.sign(proposal, sign_with_software(town, someone.id, waiting.challenge))
        raise web.HTTPSeeOther("/beleid")
    try:
        async with noting_denials(request, "policy.sign"):
            statement = statement_of(someone.id, (await read_answer(request)).assertion)
            in_force = await town.policy_office.sign(proposal, statement)
    except Refused as refused:
        return problem(refused)
    return web.json_response({"in_force": in_force is not None}, headers=NO_STORE)


async def withdraw(request: web.Request) -> web.StreamResponse:
    """Let what waits fall."""
    await form(request)
    await town_of(request).policy_office.withdraw(request.match_info["proposal"], by=someone_of(request).id)
    raise web.HTTPSeeOther("/beleid")


async def _follow(town: Town) -> bool:
    """Take over what the Kluis has already; return whether the Kluis answered."""
    try:
        await town.policy_office.follow()
    except Denied:
        raise
    except Refused as refused:
        if refused.refusal.code is not Code.UNAVAILABLE:
            raise
        return False
    return True


async def _what_may(request: web.Request, policy: Policy, proposal: PolicyProposal | None) -> Mapping[str, Any]:
    town, someone = town_of(request), someone_of(request)
    person = await town.casework.person(town.org, someone.id)
    mine = await town.keys.of(someone.id) if town.keys else ()
    facts = {"may_propose": bool(judge_proposal(policy, person)), "my_keys": " ".join(key.id for key in mine)}
    if proposal is None:
        return {**facts, "may_sign": False, "may_withdraw": False}
    confirms = bool(judge_confirmation(policy, person, proposed_by=proposal.made_by))
    made_it = someone.id == proposal.made_by
    may_sign = made_it if not proposal.signers else confirms
    return {**facts, "may_sign": may_sign, "may_withdraw": made_it or confirms}


async def _what_changes(request: web.Request, policy: Policy, proposal: PolicyProposal) -> Mapping[str, Any]:
    town, words, new = town_of(request), words_of(request), proposal.policy
    return {
        "told": words_changed(policy, new, words.language),
        "changed": fields_changed(policy, new),
        "new_tensions": lint(new, today=day_of(town.now())),
        "brought_forward": await town.policies.brought_forward(new),
    }


ROUTES: Final = (
    web.get("/beleid", show),
    web.get(r"/beleid/versie-{version:\d{1,6}}.toml", carry_document),
    web.post("/beleid/voorstel", propose),
    web.get("/beleid/voorstel/{proposal}/stuk", show_document),
    web.post("/beleid/voorstel/{proposal}/tekenen", sign),
    web.post("/beleid/voorstel/{proposal}/intrekken", withdraw),
)

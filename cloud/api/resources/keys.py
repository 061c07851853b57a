"""One's own security keys, and the Kluis's list of officials. A key is registered in a browser, by its person."""

from typing import Annotated, Final

import msgspec

from broker.wire.refusals import Code, refuse
from cloud.api.declaration import Call, Created, Given, Group, Instant, Nothing, Raw, Shown, operation
from cloud.api.resources.policy import AdoptedShown, ProposalPath
from cloud.api.resources.rooms import Signed
from cloud.desk.keys import SecurityKeys, statement_of
from cloud.desk.roster import RosterOffice, RosterProposal
from cloud.desk.rules.roster_change import Change

KEYS: Final = Group(
    name="sleutels", purpose="Wie mag tekenen voor beelden staat vast, en twee mensen besluiten over elke verandering."
)


class KeyShown(Shown):
    """One of one's own keys. `listed`: it stands on the Kluis's list, so it opens footage."""

    id: str
    registered_at: Instant
    listed: bool


class KeysShown(Shown):
    """One's own keys, oldest first."""

    items: tuple[KeyShown, ...]


class ChangeShown(Shown):
    """What a new list changes for one account."""

    official: str
    added: bool
    removed: bool
    other_person: bool
    other_term: bool
    roles_gained: tuple[str, ...]
    roles_lost: tuple[str, ...]
    keys_gained: tuple[str, ...]
    keys_lost: tuple[str, ...]


class ListProposalShown(Shown):
    """A new list that waits for two signatures. `challenge`: the 32 bytes to sign, in hexadecimal."""

    id: str
    version: int
    made_by: str
    made_at: Instant
    signers: tuple[str, ...]
    challenge: str
    changes: tuple[ChangeShown, ...]


class ListShown(Shown):
    """The Kluis's list: how the register differs from it, for who is on it, and what waits for signatures."""

    version: int
    listed: bool
    changes: tuple[ChangeShown, ...]
    proposal: ListProposalShown | None


class KeyPath(Given):
    """Which of one's own."""

    key: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,1400}$")]


@operation("GET", "/sleutels", "Mijn beveiligingssleutels", group=KEYS, refuses=(Code.NOT_FOUND,))
async def keys(call: Call) -> KeysShown:
    """Return one's own keys that count. A new one is registered in a browser, with a code handed over in person."""
    mine = await _keys(call).of(call.me.id)
    roster = await _office(call).in_force()
    listed = {key.id for each in roster.officials if each.id == call.me.id for key in each.credentials}
    return KeysShown(
        items=tuple(KeyShown(id=each.id, registered_at=each.registered_at, listed=each.id in listed) for each in mine)
    )


@operation("DELETE", "/sleutels/{sleutel}", "Een sleutel intrekken", group=KEYS)
async def withdraw_key(call: Call, path: KeyPath) -> None:
    """Let one of one's own keys count no more at the desk, at once; the Kluis's list follows by two people."""
    await _keys(call).withdraw(call.me.id, path.key)


@operation("GET", "/kluislijst", "De lijst van de Kluis", group=KEYS, refuses=(Code.NOT_FOUND, Code.UNAVAILABLE))
async def key_list(call: Call) -> ListShown:
    """Return the version in force; for who is on it also how the register differs, and what waits."""
    office = _office(call)
    roster = await office.in_force()
    listed = any(each.id == call.me.id for each in roster.officials)
    waiting = office.proposal()
    return ListShown(
        version=roster.version,
        listed=listed,
        changes=tuple(_change(each) for each in await office.pending()) if listed else (),
        proposal=_proposal(waiting) if listed and waiting is not None else None,
    )


@operation("POST", "/lijstvoorstellen", "Een nieuwe lijst voorstellen", group=KEYS, created=True,
           gives=ListProposalShown)  # fmt: skip
async def propose_list(call: Call, body: Nothing) -> Created:  # noqa: ARG001 - the register says what is in it
    """Write down the list that the register would make now; only who is on the present list."""
    office = _office(call)
    (await office.in_force()).find(call.me.id)
    made = await office.propose(call.me.id)
    return Created(_proposal(made), f"/lijstvoorstellen/{made.id}")


@operation("GET", "/lijstvoorstellen/{voorstel}", "Welke lijst op handtekeningen wacht", group=KEYS)
async def list_proposal(call: Call, path: ProposalPath) -> ListProposalShown:
    """Return the list that waits, and what it changes."""
    return _proposal(_waiting(call, path))


@operation("GET", "/lijstvoorstellen/{voorstel}/document", "De lijst die wordt getekend", group=KEYS)
async def list_document(call: Call, path: ProposalPath) -> Raw:
    """Return the very bytes that are signed."""
    return Raw(_waiting(call, path).document)


@operation("POST", "/lijstvoorstellen/{voorstel}/ondertekeningen", "Een nieuwe lijst tekenen", group=KEYS,
           refuses=(Code.CONFLICT,))  # fmt: skip
async def sign_list(call: Call, path: ProposalPath, body: Signed) -> AdoptedShown:
    """Sign what waits; with two signatures the Kluis gets it, and decides."""
    waiting = _waiting(call, path)
    in_force = await _office(call).sign(waiting.id, statement_of(call.me.id, body.assertion))
    return AdoptedShown(in_force=in_force)


def _keys(call: Call) -> SecurityKeys:
    if call.town.keys is None:
        raise refuse(Code.NOT_FOUND, "security keys", expected="a desk in standard mode", got=call.town.mode)
    return call.town.keys


def _office(call: Call) -> RosterOffice:
    if call.town.roster is None:
        raise refuse(Code.NOT_FOUND, "list of officials", expected="a desk in standard mode", got=call.town.mode)
    return call.town.roster


def _waiting(call: Call, path: ProposalPath) -> RosterProposal:
    found = _office(call).proposal()
    if found is None or found.id != path.proposal:
        raise refuse(Code.NOT_FOUND, "proposal", expected="the one that waits", got="another")
    return found


def _proposal(made: RosterProposal) -> ListProposalShown:
    return ListProposalShown(
        id=made.id,
        version=made.version,
        made_by=made.made_by,
        made_at=made.made_at,
        signers=made.signers,
        challenge=made.challenge.hex(),
        changes=tuple(_change(each) for each in made.changes),
    )


def _change(each: Change) -> ChangeShown:
    return ChangeShown(
        official=each.official,
        added=each.added,
        removed=each.removed,
        other_person=each.other_person,
        other_term=each.other_term,
        roles_gained=each.roles_gained,
        roles_lost=each.roles_lost,
        keys_gained=each.keys_gained,
        keys_lost=each.keys_lost,
    )


OPERATIONS: Final = (keys, withdraw_key, key_list, propose_list, list_proposal, list_document, sign_list)

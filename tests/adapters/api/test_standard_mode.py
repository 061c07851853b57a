"""With security keys: a program asks for the number, its person's key signs it, and nothing less than that opens."""

import io
import zipfile
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from broker.wire.approvals import change_challenge, request_challenge
from broker.wire.entries import read_entry
from cloud.desk.keys import SecurityKeys
from cloud.desk.rules.ceremonies import enrolment_challenge, seat_challenge, sign_in_challenge
from tests.adapters.api.people import SAME, Answer, Caller
from tests.adapters.api.test_api import DEMAND
from tests.browser.standard_town import StandardTown, open_standard_town
from tests.browser.town import ORG, POLICY
from tests.rules.kluis.security_key import SecurityKey

pytestmark = pytest.mark.asyncio(loop_scope="module")

PEOPLE = ("o-102", "o-103", "o-104")


@dataclass(frozen=True)
class Holder:
    """Somebody at a program, with a security key at hand."""

    id: str
    caller: Caller
    key: SecurityKey

    def sign(self, challenge: str) -> dict[str, str]:
        """Return what the key says to this number, in hexadecimal."""
        return {"assertie": self.key.sign(self.id, bytes.fromhex(challenge)).assertion}

    async def sit(self, room: str) -> Answer:
        """Sit down: ask for a number, sign it, hand it in."""
        nonce = (await self.caller.post(f"{room}/getallen", {})).said["getal"]
        signed = self.sign(seat_challenge(bytes.fromhex(nonce), room.rpartition("/")[2]).hex())
        return await self.caller.post(f"{room}/zetels", signed | {"getal": nonce})


@dataclass(frozen=True)
class Office:
    """A town in standard mode, and three of its people."""

    town: StandardTown
    manager: Holder
    privacy_officer: Holder
    secretary: Holder

    async def entries(self, kind: str) -> list[Any]:
        """Return what the ledger has of this kind."""
        ledger = self.town.hall.ledger
        found = [read_entry(raw) for _, raw in await ledger.read(0, ledger.checkpoint().size)]
        return [each for each in found if each.kind == kind]


async def registered(keys: SecurityKeys, official: str) -> SecurityKey:
    """Register a new key for this person."""
    key = SecurityKey(keys.place)
    nonce = keys.nonces.make(f"enrol {official}", now_s=0.0)
    await keys.register(official, key.register(enrolment_challenge(bytes.fromhex(nonce))), nonce=nonce, now_s=1.0)
    return key


async def signed_in(stack: AsyncExitStack, town: StandardTown, official: str, key: SecurityKey) -> Holder:
    """Sign in with this key, as the page does."""
    jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=[town.address])
    http = await stack.enter_async_context(aiohttp.ClientSession(town.address, cookie_jar=jar))
    async with http.post("/aanmelden/getal", headers=SAME) as answer:
        nonce = (await answer.json())["nonce"]
    signed = key.sign(official, sign_in_challenge(bytes.fromhex(nonce))).assertion
    async with http.post("/aanmelden/sleutel", json={"assertion": signed, "nonce": nonce}, headers=SAME) as answer:
        assert answer.status == 200, await answer.text()
    async with http.get("/v1/sessie") as answer:
        told = await answer.json()
    assert (told["medewerker"], told["modus"]) == (official, "standard")
    return Holder(official, Caller(http=http, headers=SAME | {"X-CSRF-Token": told["csrf"]}), key)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """Three people whose keys the Kluis was founded on, each signed in."""
    folder: Path = tmp_path_factory.mktemp("town")
    async with open_standard_town(folder) as town, AsyncExitStack() as stack:
        hall = town.hall
        register = SecurityKeys(hall.database, hall.ledger, org=ORG, place=town.place, clock=hall.clock)
        keys = {official: await registered(register, official) for official in PEOPLE}
        await town.found_kluis()
        holders = [await signed_in(stack, town, official, key) for official, key in keys.items()]
        yield Office(town, *holders)


async def room_asked(office: Office) -> tuple[str, str, str]:
    """Let the privacy officer write a request down; return the room's address, its number to sign and the recording."""
    recording = str(await office.town.hall.film("cam-03"))
    asks = office.privacy_officer.caller
    case = await asks.post("/dossiers", {"soort": "access_request", "samenvatting": "inzage", "opnamen": [recording]})
    asked = {"dossier": case.said["id"], "doel": "access_request", "opname": recording, "motivering": "inzage"}
    room = await asks.post("/kijkkamers", asked | {"tweede": "o-102", "niemandKijktMee": True})
    assert (room.status, room.said["stand"]) == (201, "drafted")
    return room.headers["Location"].removeprefix("/v1"), room.said["teTekenen"], recording


@pytest.mark.rule("H-47", "E-30", "H-46")
async def test_two_keys_sign_one_request_and_then_footage_goes_to_two_seats(office: Office) -> None:
    first, second = office.privacy_officer, office.manager
    room, challenge, recording = await room_asked(office)
    assert (await second.caller.get(room)).status == 403, "a request that nobody signed is its writer's"
    written = (await first.caller.get(f"{room}/verzoek")).body
    assert request_challenge(written).hex() == challenge, "what is signed can be hashed by whoever signs"
    for wrong in ({}, second.sign(challenge), first.sign("0" * 64), {"assertie": "{}"}):
        answer = await first.caller.post(f"{room}/ondertekeningen", wrong)
        assert answer.status in (400, 401, 403), wrong
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert (await first.caller.get(room)).said["stand"] == "drafted"
    asked = await first.caller.post(f"{room}/ondertekeningen", first.sign(challenge))
    assert (asked.status, asked.said["stand"]) == (200, "requested")
    to_approve = (await second.caller.get(room)).said["teTekenen"]
    assert to_approve != challenge, "agreeing is another act than asking"
    assert (await second.caller.post(f"{room}/goedkeuringen", second.sign(challenge))).status in (400, 401, 403)
    approved = await second.caller.post(f"{room}/goedkeuringen", second.sign(to_approve))
    assert (approved.status, approved.said["stand"]) == (200, "approved")
    assert (await first.sit(room)).said["stand"] == "approved", "one seat opens nothing"
    nobody = await second.caller.post(f"{room}/zetels", {})
    assert nobody.status in (400, 401, 403), "being signed in is not sitting down"
    seated = await second.sit(room)
    assert seated.said["stand"] == "open"
    footage = f"{room}/beelden/{recording}"
    assert (await second.caller.get(f"{footage}/init.mp4")).status == 403, "a browser's session is not its seat"
    shown = await second.caller.get(f"{footage}/init.mp4", X_Seat=seated.said["zetel"])
    assert (shown.status, shown.body[4:8]) == (200, b"ftyp")
    assert (await first.caller.get(f"{footage}/init.mp4", X_Seat=seated.said["zetel"])).status == 403
    (released,) = [each for each in await office.entries("viewing.released") if each.subject == recording]
    assert released.facts
    assert (await first.caller.ask("DELETE", room)).status == 204


@pytest.mark.rule("H-47")
async def test_a_number_to_sit_down_with_works_once_for_one_room_and_one_person(office: Office) -> None:
    first, second = office.privacy_officer, office.manager
    room, challenge, _ = await room_asked(office)
    await first.caller.post(f"{room}/ondertekeningen", first.sign(challenge))
    to_approve = (await second.caller.get(room)).said["teTekenen"]
    await second.caller.post(f"{room}/goedkeuringen", second.sign(to_approve))
    name = room.rpartition("/")[2]
    nonce = (await first.caller.post(f"{room}/getallen", {})).said["getal"]
    signed = first.sign(seat_challenge(bytes.fromhex(nonce), name).hex()) | {"getal": nonce}
    assert (await second.caller.post(f"{room}/zetels", signed)).status == 403, "made for somebody else"
    nonce = (await first.caller.post(f"{room}/getallen", {})).said["getal"]
    signed = first.sign(seat_challenge(bytes.fromhex(nonce), name).hex()) | {"getal": nonce}
    assert (await first.caller.post(f"{room}/zetels", signed)).status == 200
    assert (await first.caller.post(f"{room}/zetels", signed)).status == 403, "used before"
    assert (await first.caller.ask("DELETE", room)).status == 204


@pytest.mark.rule("H-47")
async def test_a_package_goes_out_when_two_keys_signed_for_it(office: Office) -> None:
    recording = str(await office.town.hall.film("cam-04"))
    first, second = office.privacy_officer, office.manager
    case = await first.caller.post("/dossiers", DEMAND | {"opnamen": [recording]})
    asked = {"dossier": case.said["id"], "ontvanger": "om", "opnamen": [recording], "motivering": "OB"}
    made = await first.caller.post("/verstrekkingen", asked | {"tweede": "o-102"})
    assert made.status == 201, made.said
    room, disclosure = f"/kijkkamers/{made.said['kamer']}", f"/verstrekkingen/{made.said['verstrekking']}"
    assert (await first.caller.post(f"{room}/bewijspakketten", {})).status in (403, 409), "nobody signed yet"
    challenge = (await first.caller.get(room)).said["teTekenen"]
    assert (await first.caller.post(f"{room}/ondertekeningen", first.sign(challenge))).status == 200
    assert (await first.caller.post(f"{room}/bewijspakketten", {})).status in (403, 409), "one signed"
    to_approve = (await second.caller.get(room)).said["teTekenen"]
    assert (await second.caller.post(f"{room}/goedkeuringen", second.sign(to_approve))).status == 200
    packed = await first.caller.post(f"{room}/bewijspakketten", {})
    assert (packed.status, packed.said["stand"]) == (201, "delivered")
    package = await first.caller.post(f"{disclosure}/ophalingen", {})
    assert "manifest.json" in zipfile.ZipFile(io.BytesIO(package.body)).namelist()


async def test_a_policy_comes_into_force_when_two_keys_signed_its_very_bytes(office: Office) -> None:
    first, second = office.privacy_officer, office.secretary
    document = POLICY.read_text().replace("version = 1\n", "version = 2\n", 1)
    made = await first.caller.post("/beleidsvoorstellen", {"document": document})
    assert made.status == 201, made.said
    address = made.headers["Location"].removeprefix("/v1")
    signed_bytes = (await second.caller.get(f"{address}/stuk")).body
    challenge = change_challenge(signed_bytes).hex()
    assert challenge == made.said["teTekenen"]
    assert (await first.caller.post(f"{address}/ondertekeningen", {})).status in (400, 403)
    once = await first.caller.post(f"{address}/ondertekeningen", first.sign(challenge))
    assert (once.status, once.said) == (200, {"inWerking": False})
    again = await first.caller.post(f"{address}/ondertekeningen", first.sign(challenge))
    assert again.status in (403, 409), "one person is not two"
    borrowed = await second.caller.post(f"{address}/ondertekeningen", first.sign(challenge))
    assert borrowed.status in (400, 401, 403)
    done = await second.caller.post(f"{address}/ondertekeningen", second.sign(challenge))
    assert (done.status, done.said) == (200, {"inWerking": True})
    assert (await first.caller.get("/beleid")).said["versie"] == 2


@pytest.mark.rule("H-47")
async def test_the_list_of_the_kluis_changes_when_two_on_it_signed(office: Office) -> None:
    hall = office.town.hall
    register = SecurityKeys(hall.database, hall.ledger, org=ORG, place=office.town.place, clock=hall.clock)
    spare = await registered(register, "o-104")
    first, second = office.privacy_officer, office.manager
    before = (await first.caller.get("/kluislijst")).said["versie"]
    made = await first.caller.post("/lijstvoorstellen", {})
    assert made.status == 201, made.said
    address, challenge = made.headers["Location"].removeprefix("/v1"), made.said["teTekenen"]
    assert (await second.caller.post(f"{address}/ondertekeningen", first.sign(challenge))).status in (400, 401, 403)
    assert not (await first.caller.post(f"{address}/ondertekeningen", first.sign(challenge))).said["inWerking"]
    assert (await second.caller.post(f"{address}/ondertekeningen", second.sign(challenge))).said["inWerking"]
    assert (await first.caller.get("/kluislijst")).said["versie"] == before + 1
    held = (await office.secretary.caller.get("/sleutels")).said["resultaten"]
    assert urlsafe_b64decode(held[-1]["id"] + "==") == spare.id


async def test_nobody_destroys_alone_by_program(office: Office) -> None:
    recording = str(await office.town.hall.film("cam-05"))
    address, ground = f"/opnamen/{recording}/vernietigingen", {"grond": "onrechtmatig opgenomen"}
    first, second = office.privacy_officer.caller, office.manager.caller
    assert (await first.post(address, ground)).said == {"stand": "proposed"}
    assert (await first.post(address, ground)).status in (403, 409), "one person is not two"
    waiting = (await second.get("/vernietigingsvoorstellen")).said["resultaten"]
    assert [(each["opname"], each["gemaaktDoor"]) for each in waiting] == [(recording, "o-103")]
    assert (await second.post(address, ground)).said == {"stand": "destroying"}
    assert (await first.get(f"/opnamen/{recording}")).said["stand"] == "destroying"

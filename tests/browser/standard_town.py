"""A town in standard mode: nobody has a key but on an authenticator, and the Kluis was founded on those."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from playwright.async_api import CDPSession, Page, expect
from sqlalchemy import insert

from broker.wire.statements import Place
from cloud.database import tables
from cloud.desk.app import desk
from cloud.desk.invitations import Invitations
from cloud.desk.keys import SecurityKeys
from cloud.desk.made_of import Besides, Entrance, KeyPlace, Nameplate
from cloud.desk.oidc import OpenIdProvider
from cloud.desk.roster import RosterOffice
from cloud.desk.rules.sign_in import SignIn
from cloud.intake.recordings import Intake
from cloud.kluis.client import KluisClient
from cloud.kluis.founding import found as found_kluis
from cloud.kluis.service import serve as serve_kluis
from tests.browser.pages import SLOW_MS, follow
from tests.browser.town import MORNING, ORG, POLICY, TownHall, _stop, _until_there, found, services_of
from tests.ports import free_port
from tests.promptness import silence_allowed

SECOND_ACCOUNT = "o-112"
"""Another account of the cluster manager, o-102."""


@dataclass(kw_only=True)
class StandardTown:
    """A town hall whose desk and Kluis take security keys only."""

    hall: TownHall
    place: Place
    invitations: Invitations
    office: RosterOffice
    stack: AsyncExitStack

    @property
    def address(self) -> str:
        """Where the desk is."""
        return self.hall.address

    async def found_kluis(self, *, people: dict[str, str] | None = None) -> None:
        """The founding: the Kluis's first list is what the register holds then. `people`: account -> human."""
        officials = [
            msgspec.structs.replace(each, person=(people or {}).get(each.id, ""))
            for each in await self.office.from_register()
            if each.credentials
        ]
        policy = await asyncio.to_thread(POLICY.read_text)
        folder = self.hall.folder / "k"
        await asyncio.to_thread(
            lambda: found_kluis(
                folder,
                org=ORG,
                policy_toml=policy,
                roster=officials,
                ledger_origin=self.hall.ledger.origin,
                ledger_key=self.hall.ledger.key,
                mode="standard",
                now=self.hall.clock(),
                place=self.place,
            )
        )
        guarding = asyncio.create_task(serve_kluis(folder, folder / "s", self.hall.clock))
        self.stack.push_async_callback(_stop, guarding)
        await _until_there(folder / "s", guarding)


@asynccontextmanager
async def open_standard_town(
    folder: Path, *, port: int | None = None, sign_in: SignIn | None = None, open_id: OpenIdProvider | None = None
) -> AsyncIterator[StandardTown]:
    """Found the town and open its desk; there is no Kluis yet."""
    hall = await found(folder)
    async with hall.database.transaction() as t:
        begun = MORNING - timedelta(days=400)
        await t.execute(
            insert(tables.officials).values(
                org=ORG, id=SECOND_ACCOUNT, display_name="H. Verhoeven (tweede account)", employed_from=begun
            )
        )
        await t.execute(
            insert(tables.appointments).values(
                org=ORG, official=SECOND_ACCOUNT, role="privacy_officer", from_at=begun, appointed_by="o-104"
            )
        )
    port = port or free_port()
    address = f"http://localhost:{port}"
    place = Place(rp_id="localhost", origins=(address,))
    async with AsyncExitStack() as stack:
        stack.enter_context(silence_allowed())
        stack.push_async_callback(hall.database.close)
        stack.push_async_callback(hall.ledger.close)
        stack.callback(hall.vault.close)
        await hall.kluis.close()
        kluis = KluisClient(folder / "k" / "s")
        stack.push_async_callback(kluis.close)
        hall = replace(
            hall,
            kluis=kluis,
            address=address,
            intake=Intake(
                org=ORG,
                database=hall.database,
                vault=hall.vault,
                kluis=kluis,
                ledger=hall.ledger,
                policies=hall.policies,
                receipt_key=Ed25519PrivateKey.generate(),
                clock=hall.clock,
                hub=hall.hub,
            ),
        )
        keyed = KeyPlace(place=place, invitations=folder / "invitations")
        app = desk(
            services_of(hall),
            nameplate=Nameplate(name="Gemeente Heusden"),
            entrance=Entrance(keys=keyed, sign_in=sign_in or SignIn(), open_id=open_id),
            besides=Besides(packages=folder / "packages"),
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        hall.runner = runner
        keys = SecurityKeys(hall.database, hall.ledger, org=ORG, place=place, clock=hall.clock)
        yield StandardTown(
            hall=hall,
            place=place,
            invitations=Invitations(folder / "invitations"),
            office=RosterOffice(hall.database, hall.ledger, kluis, keys, org=ORG, clock=hall.clock),
            stack=stack,
        )


@dataclass(kw_only=True)
class Person:
    """Somebody at a browser of their own, with an authenticator in it."""

    page: Page
    cdp: CDPSession
    authenticator: str
    assertions: list[dict[str, Any]]


async def with_authenticator(page: Page, *, verified: bool = True) -> Person:
    """Put a security key into this browser: CTAP 2.1, PIN or finger already given when `verified`."""
    cdp = await page.context.new_cdp_session(page)
    await cdp.send("WebAuthn.enable")
    made = await cdp.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "ctap2Version": "ctap2_1",
                "transport": "usb",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": verified,
                "automaticPresenceSimulation": True,
            }
        },
    )
    person = Person(page=page, cdp=cdp, authenticator=made["authenticatorId"], assertions=[])
    page.on(
        "request",
        lambda request: (
            person.assertions.append({"url": request.url, "body": request.post_data})
            if request.method == "POST" and "assertion" in (request.post_data or "")
            else None
        ),
    )
    return person


async def register(town: StandardTown, person: Person, official: str) -> None:
    """Register the key that is in this browser for this person, with a code from the administrator."""
    code = await asyncio.to_thread(lambda: town.invitations.invite(official, now=town.hall.clock()))
    await person.page.goto(f"{town.address}/sleutels/nieuw/{code}")
    await person.page.get_by_role("button", name="Registreer mijn sleutel").click()
    await expect(person.page.get_by_role("heading", name="Aanmelden")).to_be_visible(timeout=SLOW_MS)


async def sign_in(town: StandardTown, person: Person, name: str) -> None:
    """Sign in with the key that is in this browser."""
    await person.page.goto(f"{town.address}/aanmelden")
    await person.page.get_by_role("button", name="Meld mij aan met mijn sleutel").click()
    await expect(person.page.locator(".bar__name")).to_have_text(name, timeout=SLOW_MS)


async def ask(town: StandardTown, person: Person, case: str, *, second: str, reason: str) -> str:
    """Ask for a case's footage, and sign what was asked; return the room's id."""
    await draft(town, person, case, second=second, reason=reason)
    await follow(person.page, person.page.get_by_role("button", name="Onderteken met mijn sleutel"))
    await expect(person.page.locator("#room-facts")).to_have_attribute("data-state", "requested", timeout=SLOW_MS)
    return person.page.url.rsplit("/", 1)[1]


async def draft(town: StandardTown, person: Person, case: str, *, second: str, reason: str) -> str:
    """Write a request down without signing it; return the room's id."""
    await person.page.goto(f"{town.address}/kijkkamer/nieuw?dossier={case}")
    form = person.page.locator("#ask-form")
    await form.locator(".choice", has_text=second).locator("input").check()
    await form.locator("textarea[name=reden]").fill(reason)
    await form.locator("input[name=alleen]").check()
    await form.get_by_role("button", name="Onderteken en vraag").click()
    await expect(person.page.locator("#room-facts")).to_have_attribute("data-state", "drafted", timeout=SLOW_MS)
    return person.page.url.rsplit("/", 1)[1]


async def post(page: Page, path: str, body: Any = None) -> tuple[int, str]:
    """Post JSON with whatever session this browser has; return status and answer."""
    found: list[Any] = await page.evaluate(
        "async ([path, body]) => { const answer = await fetch(path, { method: 'POST', headers: "
        "{ 'Content-Type': 'application/json', 'X-CSRF-Token': document.body.dataset.csrf ?? '' }, "
        "body: body === null ? null : JSON.stringify(body) }); return [answer.status, await answer.text()]; }",
        [path, body],
    )
    return int(found[0]), str(found[1])


async def get(page: Page, path: str, *, seat: str = "") -> int:
    """Ask for an address with whatever session this browser has; return the status."""
    status: int = await page.evaluate(
        "async ([path, seat]) => (await fetch(path, { headers: seat ? { 'X-Seat': seat } : {} })).status", [path, seat]
    )
    return status


def random_nonce() -> str:
    """Sixty-four digits that nobody handed out."""
    return os.urandom(32).hex()

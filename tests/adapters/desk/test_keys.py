"""Security keys at the desk, without a browser: invitations, sign-in, and the list with which a Kluis is founded."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert

from broker.wire.refusals import Code, Refused
from broker.wire.statements import Place
from broker.wire.tlog import verifier_key
from cloud.config import ConfigError, TownFolder, read_config
from cloud.database.engine import Database
from cloud.database.tables import appointments, officials
from cloud.desk.invitations import LIVES, Invitations
from cloud.desk.invite_command import main as invite
from cloud.desk.keys import NONCE_LIVES_S, SecurityKeys
from cloud.desk.roster_command import main as roster
from cloud.desk.rules.ceremonies import enrolment_challenge, sign_in_challenge
from cloud.kluis.command import main as kluis
from cloud.kluis.custody import Kluis
from cloud.ledger.log import Ledger
from tests.rules.kluis.security_key import SecurityKey

NOW = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)
PLACE = Place(rp_id="desk.example", origins=("https://desk.example",))
POLICY = Path(__file__).parents[3] / "deploy" / "policy" / "heusden.toml"


@pytest.fixture
def town(tmp_path: Path) -> TownFolder:
    folder = TownFolder(tmp_path)
    folder.cloud.mkdir()
    settings = {
        "org": "heusden",
        "name": "Gemeente Heusden",
        "oin": "00000000000000000000",
        "mode": "standard",
        "ledger_origin": "heusden.example/log",
        "database_url": f"sqlite+aiosqlite:///{folder.cloud / 'vierogen.sqlite'}",
        "desk": {"port": 8080},
        "receiver": {"port": 8081},
        "broker": {"port": 8082},
        "desk_origin": "https://desk.example",
    }
    folder.config.write_text(json.dumps(settings))
    return folder


@pytest.fixture
async def keys(town: TownFolder) -> AsyncIterator[SecurityKeys]:
    database = Database(read_config(town.config).database_url)
    await database.create()
    async with database.transaction() as t:
        for official, role in (("o-102", "cluster_manager"), ("o-103", "privacy_officer"), ("o-104", "dpo")):
            await t.execute(insert(officials).values(org="heusden", id=official, display_name="x", employed_from=NOW))
            await t.execute(
                insert(appointments).values(
                    org="heusden", official=official, role=role, from_at=NOW, appointed_by="o-104"
                )
            )
    ledger = Ledger.create(town.ledger, origin="heusden.example/log", key=Ed25519PrivateKey.generate())
    yield SecurityKeys(database, ledger, org="heusden", place=PLACE, clock=lambda: NOW)
    await ledger.close()
    await database.close()


async def registered(keys: SecurityKeys, official: str) -> SecurityKey:
    key = SecurityKey(PLACE)
    nonce = keys.nonces.make(f"enrol {official}", now_s=0.0)
    await keys.register(official, key.register(enrolment_challenge(bytes.fromhex(nonce))), nonce=nonce, now_s=1.0)
    return key


async def test_whoever_holds_a_registered_key_signs_in_once_per_number(keys: SecurityKeys) -> None:
    key = await registered(keys, "o-102")
    nonce = keys.nonces.make("sign-in", now_s=0.0)
    signed = key.sign("o-102", sign_in_challenge(bytes.fromhex(nonce))).assertion
    assert await keys.sign_in(signed, nonce=nonce, now_s=1.0) == "o-102"
    with pytest.raises(Refused):
        await keys.sign_in(signed, nonce=nonce, now_s=1.0)
    late = keys.nonces.make("sign-in", now_s=0.0)
    signed = key.sign("o-102", sign_in_challenge(bytes.fromhex(late))).assertion
    with pytest.raises(Refused):
        await keys.sign_in(signed, nonce=late, now_s=NONCE_LIVES_S + 1)
    other = keys.nonces.make("enrol o-102", now_s=0.0)
    signed = key.sign("o-102", sign_in_challenge(bytes.fromhex(other))).assertion
    with pytest.raises(Refused):
        await keys.sign_in(signed, nonce=other, now_s=1.0)


async def test_a_copied_key_and_a_withdrawn_one_do_not_sign_in(keys: SecurityKeys) -> None:
    key = await registered(keys, "o-102")
    for expected in (True, False):
        nonce = keys.nonces.make("sign-in", now_s=0.0)
        signed = key.sign("o-102", sign_in_challenge(bytes.fromhex(nonce)), step=int(expected)).assertion
        if expected:
            assert await keys.sign_in(signed, nonce=nonce, now_s=1.0)
        else:
            with pytest.raises(Refused):
                await keys.sign_in(signed, nonce=nonce, now_s=1.0)
    with pytest.raises(Refused):
        await keys.withdraw("o-103", key.credential.id)
    await keys.withdraw("o-102", key.credential.id)
    nonce = keys.nonces.make("sign-in", now_s=0.0)
    signed = key.sign("o-102", sign_in_challenge(bytes.fromhex(nonce))).assertion
    with pytest.raises(Refused) as told:
        await keys.sign_in(signed, nonce=nonce, now_s=1.0)
    assert told.value.refusal.code is Code.UNKNOWN_IDENTITY


async def test_one_key_is_not_registered_for_two_people(keys: SecurityKeys) -> None:
    key = await registered(keys, "o-102")
    nonce = keys.nonces.make("enrol o-103", now_s=0.0)
    again = key.register(enrolment_challenge(bytes.fromhex(nonce)))
    with pytest.raises(Refused) as told:
        await keys.register("o-103", again, nonce=nonce, now_s=1.0)
    assert told.value.refusal.code is Code.CONFLICT


def test_an_invitation_works_for_one_person_once_and_for_a_day(tmp_path: Path) -> None:
    invitations = Invitations(tmp_path / "invitations")
    code = invitations.invite("o-102", now=NOW)
    assert invitations.find(code, now=NOW + LIVES) == "o-102"
    assert invitations.find(code, now=NOW + LIVES + timedelta(seconds=1)) is None
    assert invitations.find("another", now=NOW) is None
    assert not any(code in path.name or code in path.read_text() for path in (tmp_path / "invitations").iterdir())
    assert invitations.use_up(code)
    assert not invitations.use_up(code)
    assert invitations.find(code, now=NOW) is None


def test_standard_mode_without_an_address_says_what_to_add(town: TownFolder) -> None:
    settings = json.loads(town.config.read_text())
    del settings["desk_origin"]
    town.config.write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="desk_origin"):
        read_config(town.config)


async def test_a_kluis_is_founded_on_the_keys_of_the_register(
    town: TownFolder, keys: SecurityKeys, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invite([str(town.root), "o-102"]) == 0
    assert capsys.readouterr().out.startswith("https://desk.example/sleutels/nieuw/")
    mine = {official: await registered(keys, official) for official in ("o-102", "o-103")}
    assert await asyncio.to_thread(roster, [str(town.root)]) == 0
    listed = town.cloud / "roster.json"
    listed.write_text(capsys.readouterr().out)
    ledger = verifier_key("heusden.example/log", Ed25519PrivateKey.generate().public_key())
    arguments = ["found", str(town.kluis), "--org", "heusden", "--policy", str(POLICY), "--roster", str(listed)]
    arguments += ["--ledger", ledger, "--mode", "standard", "--rp-id", "desk.example"]
    assert await asyncio.to_thread(kluis, [*arguments, "--desk-origin", "https://desk.example"]) == 0
    opened = await asyncio.to_thread(Kluis.open, town.kluis)
    try:
        assert opened.public().mode == "standard"
        (known,) = opened._trust.roster.find("o-102").credentials
        assert known.id == mine["o-102"].credential.id
        with pytest.raises(Refused):
            opened._trust.roster.find("o-104")  # has a role, and no key
    finally:
        opened.close()

"""De Kluis gelooft het register niet: haar eigen lijst volgt met twee handtekeningen, of helemaal niet."""

from datetime import timedelta
from typing import Any

import pytest

from broker.wire.approvals import sign_in_software
from broker.wire.refusals import Code, Refused
from cloud.casework.personnel import Personnel
from cloud.casework.roster import KluisRoster, SoftwareRoster
from cloud.ledger.log import LedgerUnwritable
from tests.acceptance.town import Town

pytestmark = pytest.mark.asyncio(loop_scope="module")

COORDINATOR, MANAGER, PRIVACY, SECRETARY, ADMIN = "o-101", "o-102", "o-103", "o-104", "o-106"


async def stand_in(town: Town, substitute: str, *, days: int = 5) -> None:
    now = town.clock()
    await town.casework.appoint_substitute(
        town.org,
        by=SECRETARY,
        role="privacy_officer",
        replaced=PRIVACY,
        substitute=substitute,
        from_at=now,
        until_at=now + timedelta(days=days),
        ground="verlof",
    )


@pytest.fixture
def roster(heusden: Town) -> KluisRoster:
    return KluisRoster(heusden.database, heusden.ledger, heusden.kluis, org=heusden.org, clock=heusden.clock)


def keys_of(town: Town) -> Any:
    carried = town.casework.roster
    assert isinstance(carried, SoftwareRoster)
    return carried._keys


@pytest.mark.rule("H-48", "E-02")
async def test_wie_zelf_een_rol_krijgt_tekent_daar_niet_voor(
    heusden: Town, roster: KluisRoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await roster.amendment() is None, "a town is founded with one list"
    with monkeypatch.context() as patched:
        patched.setattr(heusden.casework, "roster", None)
        await stand_in(heusden, MANAGER)
    amendment = await roster.amendment()
    assert amendment is not None
    assert amendment.changed == (MANAGER,)
    now = heusden.clock()
    assert not amendment.may_sign(MANAGER, now)
    assert not amendment.may_sign("h-001", now), "an officer is nobody in office"
    assert amendment.may_sign(SECRETARY, now)
    keys = keys_of(heusden)
    for pair in ((SECRETARY, MANAGER), (SECRETARY, SECRETARY)):
        statements = [sign_in_software(name, keys[name], amendment.challenge) for name in pair]
        with pytest.raises(Refused) as refused:
            await roster.put_in_force(amendment, statements)
        assert refused.value.refusal.code is Code.NOT_ALLOWED
    alone = SoftwareRoster(roster, {SECRETARY: keys[SECRETARY], MANAGER: keys[MANAGER]}, clock=heusden.clock)
    with pytest.raises(Refused, match="two in office"):
        await alone.carry_over(by=SECRETARY)
    assert (await heusden.kluis.public()).roster_version == 1
    assert await SoftwareRoster(roster, keys, clock=heusden.clock).carry_over(by=SECRETARY) == (MANAGER,)
    assert (await heusden.kluis.public()).roster_version == 2
    assert await roster.amendment() is None


@pytest.mark.rule("E-48", "E-35")
async def test_zonder_logboek_verandert_de_lijst_niet_en_daarna_gaat_alles_mee(
    heusden: Town, roster: KluisRoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = heusden.ledger.append

    async def away(kind: str, **told: Any) -> Any:
        if kind == "roster.changed" and "sha256" in told["facts"]:
            raise LedgerUnwritable(heusden.folder.ledger, "full")
        return await append(kind, **told)

    version = (await heusden.kluis.public()).roster_version
    office = heusden.casework
    people = Personnel(office.database, office.ledger, office.policies, office.clock, office.hub, roster=office.roster)
    with monkeypatch.context() as patched:
        patched.setattr(heusden.ledger, "append", away)
        with pytest.raises(Refused) as refused:
            await people.leave_at(heusden.org, by=ADMIN, official=COORDINATOR, at=heusden.clock())
        assert refused.value.refusal.code is Code.LEDGER_UNWRITABLE
    assert not (await heusden.casework.person(heusden.org, COORDINATOR)).employed, "the register stands"
    assert (await heusden.kluis.public()).roster_version == version
    assert heusden.casework.roster is not None
    assert await heusden.casework.roster.carry_over(by=SECRETARY) == (COORDINATOR,)
    assert not (await roster.in_force()).find(COORDINATOR).at(heusden.clock()).employed

"""Which ways in are open: those that the policy names and the settings give a place, and no other."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.wire.policy import Via
from broker.wire.refusals import Code, refuse
from cloud.config import ConfigError, read_config
from cloud.intake.axis.tokens import Account
from cloud.intake.ways_in import AxisPlace, Means, take_in
from tests.adapters.axis.world import SealingKluis, Versions, open_policy
from tests.adapters.intake.town import Town
from tests.ports import free_port

ACCOUNT = {"user": "axis", "key_sha256": "0" * 64}
GOOD = {"listen": {"port": 9443}, "public_url": "https://axis.example:9443", "accounts": [ACCOUNT]}


class LateKluis(SealingKluis):
    """Answers from the second question on."""

    asked = 0

    async def public(self) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise refuse(Code.UNAVAILABLE, "Kluis", expected="an answer", got="none")
        return SimpleNamespace(signing_key=self.key.public_key().public_bytes_raw())


@asynccontextmanager
async def opened(town: Town, watched: Path, *via: Via) -> AsyncIterator[int]:
    kluis: Any = LateKluis()
    town.policies, port = Versions(open_policy(*via)), free_port()
    means = Means(
        org=town.org,
        database=town.database,
        vault=town.vault,
        kluis=kluis,
        ledger=town.ledger,
        policies=town.policies,
        clock=town.clock,
        hub=town.hub,
    )
    place = AxisPlace(
        host="127.0.0.1",
        port=port,
        public_url=f"https://127.0.0.1:{port}",
        accounts=(Account(**ACCOUNT),),
        categories=(),
        certificate=town.server.certificate,
        key=town.server.key,
    )
    spool = town.folder / "outside"
    running = asyncio.create_task(take_in(means, key=town.receipt_key, spool=spool, axis_place=place, watched=watched))
    try:
        yield port
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(logged: pytest.LogCaptureFixture, words: str) -> None:
    async with asyncio.timeout(60):
        while words not in logged.text:
            await asyncio.sleep(0.02)


@pytest.mark.rule("T-28")
async def test_what_the_policy_does_not_name_stays_shut_whatever_the_settings_say(
    town: Town, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(town, tmp_path) as port:
        await until(caplog, "axis: the settings give it a place, but the policy does not name it")
        await until(caplog, "import: the settings give it a place, but the policy does not name it")
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", port)


async def test_what_both_name_opens_once_the_kluis_answers(
    town: Town, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("cloud.intake.ways_in.TRIES_AGAIN_S", 0.01)
    async with opened(town, tmp_path, Via.AXIS, Via.IMPORT) as port:
        await until(caplog, "footage of others waits for the Kluis")
        await until(caplog, "import: ")
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "heusden" / "cloud" / "cloud.json"
    path.parent.mkdir(parents=True)
    (path.parent / "outside.key").write_bytes(bytes(32))
    return path


def written(path: Path, **more: Any) -> Path:
    base = {
        "org": "heusden",
        "name": "Heusden",
        "oin": "0" * 20,
        "mode": "demonstration",
        "ledger_origin": "vier-ogen.example/heusden",
        "database_url": "sqlite+aiosqlite:///x",
        "desk": {"port": 1},
        "receiver": {"port": 2},
        "broker": {"port": 3},
    }
    path.write_text(json.dumps(base | more))
    return path


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"axis": GOOD | {"public_url": "http://axis.example:9443"}}, "axis.public_url: expected https://host:port"),
        ({"axis": GOOD | {"public_url": "https://axis.example"}}, "axis.public_url: expected https://host:port"),
        ({"axis": GOOD | {"accounts": []}}, "axis.accounts: expected one account"),
        ({"axis": GOOD | {"accounts": [ACCOUNT, ACCOUNT]}}, "axis.accounts: expected one account"),
        ({"axis": GOOD | {"accounts": [{"user": "axis", "key_sha256": "secret"}]}}, "key_sha256"),
        ({"axis": GOOD | {"certificate": "cert.pem"}}, "expected both or neither"),
        ({"axis": GOOD | {"poort": 1}}, "poort"),
        ({"watch_folder": "usb"}, "watch_folder: expected the absolute path"),
        ({"watch_folder": "/not/there"}, "watch_folder: expected the absolute path"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(settings: Path, more: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_config(written(settings, **more))


def test_a_town_without_the_doors_own_key_is_told_how_to_make_it(settings: Path, tmp_path: Path) -> None:
    assert read_config(written(settings, axis=GOOD, watch_folder=str(tmp_path))).axis is not None
    (settings.parent / "outside.key").unlink()
    with pytest.raises(ConfigError, match="make it once"):
        read_config(written(settings, axis=GOOD))
    shutil.rmtree(settings.parent)

"""Somebody else's eyes: a witness that signs only growth, and a time-stamping authority."""

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.refusals import Code, Refused
from broker.wire.tlog import COSIGNATURE, check_cosignature, sign_checkpoint, verifier_key
from cloud.config import ConfigError, read_config
from cloud.ledger.eyes import Asking
from cloud.ledger.log import Ledger
from cloud.ledger.stamps import StampAsked, ask_stamp, check_stamp, keep_stamp, stamp_request
from cloud.ledger.verify import verify
from cloud.ledger.witness import Witness, WitnessAsked, ask_witness, witness_application
from cloud.rules.self_check import TIMESTAMPS, Light, judge_witness
from cloud.rules.self_check import WITNESS as WITNESS_NAME

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "ledger.example/town"
NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
NAME = "witness.example/neighbour"
WITNESS = Ed25519PrivateKey.generate()


async def add(ledger: Ledger, count: int) -> None:
    await asyncio.gather(
        *(ledger.append("hold.placed", subject=f"case-{n}", actor="o-1", at=NOW, facts={"n": n}) for n in range(count))
    )


@pytest_asyncio.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = Ledger.create(tmp_path / "ledger", origin=ORIGIN, key=KEY)
    yield ledger
    await ledger.close()


@pytest_asyncio.fixture
async def neighbour(tmp_path: Path) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    (tmp_path / "witness").mkdir()
    witness = Witness(tmp_path / "witness", name=NAME, key=WITNESS, ledgers={ORIGIN: KEY.public_key()})
    async with (
        TestServer(witness_application(witness, lambda: NOW)) as server,
        aiohttp.ClientSession() as session,
    ):
        yield str(server.make_url("")).rstrip("/"), session


async def asked(ledger: Ledger, neighbour: tuple[str, aiohttp.ClientSession]) -> bytes:
    url, session = neighbour
    return (await ask_witness(ledger, session, url, name=NAME, key=WITNESS.public_key())).note


async def test_a_witness_cosigns_a_ledger_that_grows(
    ledger: Ledger, neighbour: tuple[str, aiohttp.ClientSession], tmp_path: Path
) -> None:
    for count in (1, 2, 300):
        await add(ledger, count)
        note = await asked(ledger, neighbour)
        assert check_cosignature(note, name=NAME, key=WITNESS.public_key()) == int(NOW.timestamp())
        assert note == await asked(ledger, neighbour), "once is enough"
    witnesses = {NAME: WITNESS.public_key()}
    assert verify(tmp_path / "ledger", origin=ORIGIN, key=KEY.public_key(), witnesses=witnesses).intact


@pytest.mark.rule("H-46")
async def test_a_witness_does_not_sign_a_rewritten_ledger(
    ledger: Ledger, neighbour: tuple[str, aiohttp.ClientSession], tmp_path: Path
) -> None:
    await add(ledger, 5)
    await asked(ledger, neighbour)
    forged = Ledger.create(tmp_path / "forged", origin=ORIGIN, key=KEY)
    for n in range(8):
        await forged.append("hold.released", subject=f"case-{n}", actor="o-1", at=NOW, facts={})
    with pytest.raises(Refused) as caught:
        await asked(forged, neighbour)
    assert caught.value.refusal.code is Code.BAD_SIGNATURE
    await forged.close()


async def test_a_witness_does_not_sign_a_ledger_that_went_back(
    ledger: Ledger, neighbour: tuple[str, aiohttp.ClientSession], tmp_path: Path
) -> None:
    await add(ledger, 2)
    await ledger.close()
    shutil.copytree(tmp_path / "ledger", tmp_path / "old")
    again = Ledger.open(tmp_path / "ledger", origin=ORIGIN, key=KEY)
    await add(again, 2)
    await asked(again, neighbour)
    await again.close()
    rewound = Ledger.open(tmp_path / "old", origin=ORIGIN, key=KEY)
    with pytest.raises(Refused) as caught:
        await asked(rewound, neighbour)
    assert caught.value.refusal.code is Code.BAD_SIGNATURE
    await rewound.close()


async def test_a_witness_knows_its_ledgers(neighbour: tuple[str, aiohttp.ClientSession], tmp_path: Path) -> None:
    url, session = neighbour
    stranger = sign_checkpoint(origin="ledger.example/other", size=0, root=bytes(32), key=KEY).note
    forged = sign_checkpoint(origin=ORIGIN, size=0, root=bytes(32), key=Ed25519PrivateKey.generate()).note
    for body, status in ((b"old 0\n\n" + stranger, 404), (b"old 0\n\n" + forged, 422), (b"nonsense", 400)):
        async with session.post(f"{url}/add-checkpoint", data=body) as response:
            assert response.status == status


async def test_without_a_witness_the_ledger_goes_on(ledger: Ledger) -> None:
    await add(ledger, 1)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Refused) as caught:
            await ask_witness(ledger, session, "http://127.0.0.1:9", name=NAME, key=WITNESS.public_key())
    assert caught.value.refusal.code is Code.UNAVAILABLE
    await add(ledger, 1)


# --- time stamps --------------------------------------------------------------------------------------------------

PORT = {"port": 1}
SETTINGS = {
    "org": "heusden",
    "name": "Heusden",
    "oin": "1",
    "mode": "demonstration",
    "ledger_origin": ORIGIN,
    "database_url": "sqlite+aiosqlite://",
    "desk": PORT,
    "receiver": PORT,
    "broker": PORT,
}
CONFIG = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
[v3_tsa]
extendedKeyUsage = critical,timeStamping
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A time-stamping authority of openssl's, with a root of its own."""
    folder = tmp_path_factory.mktemp("tsa")
    (folder / "tsa.cnf").write_text(CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "root.key", "-out", "root.pem",
            "-subj", "/CN=test root", "-days", "30")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=test tsa")
    openssl("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
            "-out", "tsa.pem", "-days", "30", "-extfile", "tsa.cnf", "-extensions", "v3_tsa")  # fmt: skip
    return folder


def stamped(authority: Path, request: bytes) -> bytes:
    (authority / "request.tsq").write_bytes(request)
    subprocess.run(
        ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "request.tsq", "-out", "reply.tsr"],
        check=True,
        capture_output=True,
        cwd=authority,
    )
    return (authority / "reply.tsr").read_bytes()


async def test_a_stamp_says_when_a_checkpoint_was_there_and_fits_no_other(
    ledger: Ledger, authority: Path, tmp_path: Path
) -> None:
    await add(ledger, 2)
    note = ledger.checkpoint().note
    stamp = stamped(authority, stamp_request(note))
    tsa = x509.load_pem_x509_certificate((authority / "tsa.pem").read_bytes())
    root = x509.load_pem_x509_certificate((authority / "root.pem").read_bytes())
    when = check_stamp(note, stamp, authority=tsa, roots=[root])
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=5)
    await add(ledger, 1)
    for wrong_note, wrong_stamp in (
        (ledger.checkpoint().note, stamp),
        (note, stamp[:-1]),
        (note, stamp[:-9] + bytes([stamp[-9] ^ 1]) + stamp[-8:]),
        (note, b""),
    ):
        with pytest.raises(Refused):
            check_stamp(wrong_note, wrong_stamp, authority=tsa, roots=[root])
    with pytest.raises(Refused):
        check_stamp(note, stamp, authority=tsa, roots=[tsa])
    kept = keep_stamp(tmp_path / "stamps", note, stamp)
    assert kept.read_bytes() == stamp


@contextlib.asynccontextmanager
async def open_authority(folder: Path) -> AsyncIterator[str]:
    """The authority over HTTP; at ``/endless`` it does not come to an end."""

    async def answer(request: web.Request) -> web.Response:
        assert request.content_type == "application/timestamp-query"
        return web.Response(body=stamped(folder, await request.read()))

    async def endless(_: web.Request) -> web.Response:
        return web.Response(body=bytes(10_000_000))

    application = web.Application()
    application.router.add_post("/", answer)
    application.router.add_post("/endless", endless)
    async with TestServer(application) as server:
        yield str(server.make_url("/"))


async def test_a_stamp_is_asked_over_http(authority: Path) -> None:
    async with open_authority(authority) as url, aiohttp.ClientSession() as session:
        assert len(await ask_stamp(session, url, b"note")) > 500
        for wrong in ("nowhere", "endless"):
            with pytest.raises(Refused) as caught:
                await ask_stamp(session, url + wrong, b"note")
            assert caught.value.refusal.code is Code.UNAVAILABLE


# --- now and then -------------------------------------------------------------------------------------------------


def judged(*asking: Asking, now: datetime) -> Light:
    return judge_witness({each.name: each.state() for each in asking}, now=now).light


async def test_others_are_asked_and_what_they_say_is_kept_and_shown(
    ledger: Ledger, neighbour: tuple[str, aiohttp.ClientSession], authority: Path, tmp_path: Path
) -> None:
    url, session = neighbour
    await add(ledger, 3)
    file, stamps = tmp_path / "witnessed.checkpoint", tmp_path / "stamps"
    pem = (authority / "tsa.pem").read_bytes() + (authority / "root.pem").read_bytes()
    certificates = x509.load_pem_x509_certificates(pem)
    witness = WitnessAsked(ledger, url=url, name=NAME, key=WITNESS.public_key(), file=file)
    asking = Asking(WITNESS_NAME, witness, every_s=3600)
    async with open_authority(authority) as at:
        stamp = StampAsked(ledger, url=at, certificates=certificates, folder=stamps)
        stamping = Asking(TIMESTAMPS, stamp, every_s=86_400)
        now = datetime.now(UTC)
        assert judged(asking, stamping, now=now) is Light.ORANGE
        assert await asking.ask(session)
        assert await stamping.ask(session)
    now = datetime.now(UTC)
    assert judged(asking, stamping, now=now) is Light.GREEN
    assert judged(asking, stamping, now=now + timedelta(days=2)) is Light.RED
    kept = file.read_bytes()
    assert check_cosignature(kept, name=NAME, key=WITNESS.public_key())
    await add(ledger, 1)
    assert check_cosignature(file.read_bytes(), name=NAME, key=WITNESS.public_key()), "the newest promise has no line"
    (note,) = stamps.glob("*.checkpoint")
    check_stamp(note.read_bytes(), note.with_suffix(".tsr").read_bytes(), authority=certificates[0], roots=certificates)
    for outsider in (witness, stamp):
        at_rest = outsider.kept_at()
        assert at_rest is not None
        assert abs(now - at_rest) < timedelta(minutes=5), "the next process goes on from there"


@pytest.mark.rule("H-46")
async def test_a_ledger_that_went_back_turns_the_self_check_red(
    ledger: Ledger, neighbour: tuple[str, aiohttp.ClientSession], tmp_path: Path
) -> None:
    url, session = neighbour
    await add(ledger, 5)
    await asked(ledger, neighbour)
    forged = Ledger.create(tmp_path / "forged", origin=ORIGIN, key=KEY)
    await forged.append("hold.released", subject="case-1", actor="o-1", at=NOW, facts={})
    outsider = WitnessAsked(forged, url=url, name=NAME, key=WITNESS.public_key(), file=tmp_path / "kept")
    asking = Asking(WITNESS_NAME, outsider, every_s=3600)
    assert not await asking.ask(session)
    assert judged(asking, now=datetime.now(UTC)) is Light.RED
    assert not (tmp_path / "kept").exists()
    await forged.close()


async def test_who_does_not_answer_is_asked_again_later_and_later_and_nothing_waits(
    ledger: Ledger, tmp_path: Path
) -> None:
    away = WitnessAsked(ledger, url="http://127.0.0.1:9", name=NAME, key=WITNESS.public_key(), file=tmp_path / "kept")
    asking = Asking(WITNESS_NAME, away, every_s=3600, dice=lambda: 0.5)
    async with aiohttp.ClientSession() as session:
        assert not await asking.ask(session)
    assert judged(asking, now=datetime.now(UTC)) is Light.ORANGE, "not yet a day"
    assert [asking.pause_s(failed) for failed in (0, 1, 2, 3, 9, 99)] == [3600, 60, 120, 240, 3600, 3600]
    await add(ledger, 1)
    asking_on = asyncio.create_task(asking.run())
    await add(ledger, 1)
    asking_on.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking_on


async def test_a_gateway_that_fails_is_nobody_who_refuses(ledger: Ledger, tmp_path: Path) -> None:
    async def failing(_: web.Request) -> web.Response:
        return web.Response(status=502)

    application = web.Application()
    application.router.add_post("/add-checkpoint", failing)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        with pytest.raises(Refused) as caught:
            await ask_witness(
                ledger, session, str(server.make_url("")).rstrip("/"), name=NAME, key=WITNESS.public_key()
            )
    assert caught.value.refusal.code is Code.UNAVAILABLE


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"witness": {"url": "witness.example", "key": "x"}}, "witness.url: expected https://host"),
        ({"witness": {"url": "https://witness.example", "key": "x"}}, "witness.key: ledger key"),
        ({"witness": {"url": "https://witness.example", "key": "x", "every_s": 1}}, "every_s"),
        (
            {"timestamps": {"url": "http://tsa.example", "certificate": "/not/there"}},
            "timestamps.certificate: expected",
        ),
        ({"timestamps": {"url": "http://tsa.example", "certificate": "{one}"}}, "and the one above it, got one"),
        ({"timestamp": {}}, "did you mean timestamps"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(
    authority: Path, tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    told = json.dumps(SETTINGS | more).replace("{one}", str(authority / "root.pem"))
    (tmp_path / "cloud.json").write_text(told)
    with pytest.raises(ConfigError, match=says):
        read_config(tmp_path / "cloud.json")


def test_settings_that_can_work_are_read(authority: Path, tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_bytes((authority / "tsa.pem").read_bytes() + (authority / "root.pem").read_bytes())
    more = {
        "witness": {
            "url": "https://witness.example",
            "key": verifier_key(NAME, WITNESS.public_key(), kind=COSIGNATURE),
        },
        "timestamps": {"url": "http://tsa.example/tsr", "certificate": str(tmp_path / "chain.pem"), "every_s": 3600},
    }
    (tmp_path / "cloud.json").write_text(json.dumps(SETTINGS | more))
    config = read_config(tmp_path / "cloud.json")
    assert config.witness is not None
    assert config.timestamps is not None
    assert (config.witness.every_s, len(config.timestamps.certificates())) == (3600, 2)

"""Somebody else's eyes: a witness that signs only growth, and a time-stamping authority."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.refusals import Code, Refused
from broker.wire.tlog import check_cosignature, sign_checkpoint
from cloud.ledger.log import Ledger
from cloud.ledger.stamps import ask_stamp, check_stamp, keep_stamp, stamp_request
from cloud.ledger.verify import verify
from cloud.ledger.witness import Witness, ask_witness, witness_application

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


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A time-stamping authority of openssl's, with a root of its own."""
    folder = tmp_path / "tsa"
    folder.mkdir()
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


async def test_a_stamp_is_asked_over_http(authority: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.content_type == "application/timestamp-query"
        return web.Response(body=stamped(authority, await request.read()))

    application = web.Application()
    application.router.add_post("/", answer)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        assert len(await ask_stamp(session, str(server.make_url("/")), b"note")) > 500
        with pytest.raises(Refused):
            await ask_stamp(session, str(server.make_url("/nowhere")), b"note")

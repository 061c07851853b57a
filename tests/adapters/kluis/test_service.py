"""The Kluis as a process of its own, over its socket."""

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from broker.clock import Clock, DemonstrationClock
from broker.wire.approvals import Range, request_sha256, split_keys
from broker.wire.certificates import read_certificate
from broker.wire.keylist import read_keylist
from broker.wire.recording import open_sealed, open_segment
from broker.wire.refusals import Code, Refused
from cloud.kluis.client import KluisClient
from cloud.kluis.custody import Kluis
from cloud.kluis.rules.roster import read_document, read_roster
from cloud.kluis.service import serve
from tests.adapters.kluis.conftest import Town, build
from tests.rules.kluis.world import Footage, heusden


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path: a unix socket's name has 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="vo-kluis-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def clock(short: Path) -> Clock:
    return DemonstrationClock.create(short / "clock.json", shown=datetime.now(UTC), rate=1.0)


@pytest_asyncio.fixture
async def served(short: Path, clock: Clock) -> AsyncIterator[tuple[Town, KluisClient]]:
    """A Kluis behind its socket, in this process."""
    world = heusden()
    world.now = clock()
    town = build(short / "kluis", world)
    socket = short / "kluis" / "kluis.sock"
    task = asyncio.ensure_future(serve(town.folder, socket, clock))
    await _there(socket, task)
    client = KluisClient(socket)
    yield town, client
    await client.close()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _there(socket: Path, task: "asyncio.Future[None]") -> None:
    async with asyncio.timeout(60):
        while not socket.exists() and not task.done():
            await asyncio.sleep(0.01)
    if task.done():
        await task


async def film(town: Town, client: KluisClient, clock: Clock) -> Footage:
    town.world.now = clock()
    footage = town.world.film(read_keylist(await client.keylist(), town.key))
    await client.intake(footage.head, camera_public_key=footage.camera, end=footage.end)
    return footage


async def code_of(call: object) -> Code:
    with pytest.raises(Refused) as caught:
        await call  # type: ignore[misc]
    return caught.value.refusal.code


@pytest.mark.rule("H-47")
async def test_from_camera_to_two_pairs_of_eyes_to_destruction_over_the_socket(
    served: tuple[Town, KluisClient], clock: Clock
) -> None:
    town, client = served
    footage = await film(town, client, clock)
    public = await client.public()
    assert (public.org, public.mode, public.held) == ("heusden", "demonstration", 1)
    assert public.signing_key == town.founded.signing_key

    raw = town.world.request(Range(id=str(footage.id), first=1, last=3))
    submission = town.world.submit(raw)
    released = await client.release(raw, **submission.arguments())
    (one,) = released.recordings
    keys = split_keys(open_sealed(town.world.session, one.sealed, info=request_sha256(raw)), first=1, last=3)
    assert open_segment(footage.segments[2], keys[2]) == b"second 2"
    assert await code_of(client.release(raw, **submission.arguments())) is Code.CONFLICT

    entry, proof = town.world.order(footage.id)
    (executed,) = await client.reapply([(footage.id, entry, proof)])
    assert read_certificate(executed, town.key).state == "executed"
    assert (await client.certificates(footage.id)).final is None
    assert [(item.recording, item.state) for item in await client.inventory()] == [(str(footage.id), "destroyed")]
    again = client.intake(footage.head, camera_public_key=footage.camera)
    assert await code_of(again) is Code.DESTROYED
    await client.rotate()
    assert (await client.public()).generation == 2

    journal = b"\n".join(await client.journal(0, 100)).decode()
    kinds = ("kluis.founded", "keys.released", "release.refused", "key.destroying", "generation.rotated")
    assert all(f'"kind":"{kind}"' in journal for kind in kinds)
    assert (await client.checkpoint()).decode().startswith(town.founded.journal_origin)
    roster = read_roster(read_document((await client.documents()).roster, town.key, kind="roster"))
    assert len(roster.officials) == len(town.world.officials)


async def test_one_statement_is_a_refusal_and_not_a_form(served: tuple[Town, KluisClient], clock: Clock) -> None:
    town, client = served
    footage = await film(town, client, clock)
    raw = town.world.request(Range(id=str(footage.id), first=1, last=3))
    submission = town.world.submit(raw)
    submission.statements = submission.statements[:1]
    assert await code_of(client.release(raw, **submission.arguments())) is Code.NOT_ALLOWED


async def test_a_refusal_comes_back_as_what_it_was(served: tuple[Town, KluisClient]) -> None:
    town, client = served
    with pytest.raises(Refused) as caught:
        await client.certificates(town.world.recording_id())
    refusal = caught.value.refusal
    assert (refusal.code, refusal.what, refusal.expected) == (Code.NOT_FOUND, "certificate", "a destroyed recording")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("intake", b"{}"),
        ("intake", b"\xff"),
        ("release", b"[]"),
        ("destroy", b'{"recording":"x","entry":"","proof":""}'),
    ],
)
async def test_what_is_no_order_is_refused(
    served: tuple[Town, KluisClient], short: Path, path: str, body: bytes
) -> None:
    connector = aiohttp.UnixConnector(path=str(short / "kluis" / "kluis.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(f"http://kluis/v1/{path}", data=body) as response,
    ):
        assert response.status == 400
        assert (await response.json(content_type="application/problem+json"))["retry"] == "never"


async def test_nobody_else_enters_the_sockets_folder(served: tuple[Town, KluisClient], short: Path) -> None:
    socket = short / "kluis" / "kluis.sock"
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600


async def test_a_folder_that_others_enter_is_refused(short: Path, clock: Clock) -> None:
    town = build(short / "kluis", heusden())
    (short / "open").mkdir(mode=0o755)
    (short / "open").chmod(0o755)
    with pytest.raises(PermissionError):
        await serve(town.folder, short / "open" / "kluis.sock", clock)


async def test_where_no_kluis_answers_the_client_says_so(short: Path) -> None:
    client = KluisClient(short / "nobody.sock")
    assert await code_of(client.public()) is Code.UNAVAILABLE
    await client.close()


async def test_housekeeping_runs_by_the_shared_clock(served: tuple[Town, KluisClient], clock: Clock) -> None:
    town, client = served
    footage = await film(town, client, clock)
    entry, proof = town.world.order(footage.id)
    await client.destroy(footage.id, entry=entry, proof=proof)
    assert isinstance(clock, DemonstrationClock)
    for days in (2, 8):
        clock.move_forward(timedelta(days=days))
        await client.rotate()
    final = (await client.certificates(footage.id)).final
    assert final is not None
    assert read_certificate(final, town.key).state == "final"


@pytest.mark.rule("E-34")
async def test_a_killed_process_starts_again_with_everything_it_answered(short: Path, clock: Clock) -> None:
    world = heusden()
    world.now = clock()
    town = build(short / "kluis", world)
    socket = short / "kluis" / "kluis.sock"
    gone: list[Footage] = []
    kept: list[Footage] = []
    for end in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        program = "import sys; from cloud.kluis.command import main; sys.exit(main(sys.argv[1:]))"
        order = ["serve", str(town.folder), "--clock", str(short / "clock.json")]
        socket.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", program, *order])
        client = KluisClient(socket)
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(Refused):
                    await client.public()
                    break
                assert process.poll() is None
                await asyncio.sleep(0.05)
        assert process.pid != os.getpid()
        kept.append(await film(town, client, clock))
        gone.append(await film(town, client, clock))
        entry, proof = world.order(gone[-1].id)
        await client.destroy(gone[-1].id, entry=entry, proof=proof)
        states = {item.recording: item.state for item in await client.inventory()}
        assert states == {str(each.id): "held" for each in kept} | {str(each.id): "destroyed" for each in gone}
        await client.close()
        process.send_signal(end)
        assert process.wait(timeout=60) == (0 if end == signal.SIGTERM else -signal.SIGKILL)
    world.now = clock()
    with contextlib.closing(Kluis.open(town.folder)):
        pass
    assert town.watch(kept[0]) == [b"second 1", b"second 2", b"second 3"]
    town.close()

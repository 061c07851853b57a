"""How the dock sends: each segment once, within its limit, and whatever the receiver answers."""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.client import HTTPSConnection
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from broker.wire.delivery import bundle_name, unbundle
from broker.wire.ids import DeviceId
from broker.wire.recording import segment_digest
from broker.wire.refusals import Code, refuse
from cloud.intake.doors import server_tls
from dock_agent.card_reader import DockedCard
from dock_agent.settings import SettingsError, read_settings
from dock_agent.uploader import PIECE_BYTES, Lane, NeedsAttention, NoAnswer, Receiver, Throttle, Uploader
from tests.adapters.dock.agent import eventually
from tests.adapters.intake.town import Camera, Made, Town, put_on_card, write_card
from tests.benchmarks.offload import out_of_time


class Pretender:
    """A receiver that answers what a test tells it to, and counts."""

    def __init__(self) -> None:
        self.came: Counter[str] = Counter()
        self.answers: list[web.Response] = []
        self.has: set[str] = set()
        self.dislikes: set[str] = set()
        self.bundles: list[list[str]] = []
        self.asked_over: list[asyncio.Transport] = []

    async def have(self, request: web.Request) -> web.Response:
        body = await request.read()
        names = [body[start : start + 32].hex() for start in range(0, len(body), 32)]
        bits = "".join("1" if name in self.has else "0" for name in names)
        bits += "0" * (-len(bits) % 8)
        assert request.transport is not None
        self.asked_over.append(request.transport)
        return web.Response(body=bytes(int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)))

    async def segment(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await request.read()
        self.came[name] += 1
        if self.answers:
            return self.answers.pop(0)
        self.has.add(name)
        return web.Response(status=201)

    async def bundle(self, request: web.Request) -> web.Response:
        body = memoryview(await request.read())
        names = [segment_digest(bytes(raw)).hex() for raw in unbundle(body)]
        assert request.match_info["name"] == bundle_name(map(bytes.fromhex, names))
        self.bundles.append(names)
        self.came.update(names)
        if self.answers:
            return self.answers.pop(0)
        self.has.update(name for name in names if name not in self.dislikes)
        if refused := {name: "DIGEST_DIFFERS" for name in names if name in self.dislikes}:
            return refusal(Code.DIGEST_DIFFERS, refused=refused)
        return web.Response(status=201)

    async def recording(self, request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b"receipt")

    @asynccontextmanager
    async def serving(self, town: Town) -> AsyncIterator[Receiver]:
        app = web.Application(client_max_size=10**8)
        app.router.add_post("/v1/segments/have", self.have)
        app.router.add_put("/v1/segments/{name}", self.segment)
        app.router.add_put("/v1/bundles/{name}", self.bundle)
        app.router.add_put("/v1/recordings/{name}", self.recording)
        runner = web.AppRunner(app)
        await runner.setup()
        tls: ssl.SSLContext = server_tls(ca=town.server.ca, certificate=town.server.certificate, key=town.server.key)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        port = runner.addresses[0][1]
        try:
            yield Receiver.at(
                f"https://127.0.0.1:{port}",
                ca=town.authority.ca,
                certificate=town.dock.certificate,
                key=town.dock.key,
            )
        finally:
            await runner.cleanup()


class SilentOnce(Pretender):
    """Takes what is sent to it first and says nothing; for that `be_patient` (seconds) makes the dock impatient."""

    def __init__(self, be_patient: Callable[[float], None]) -> None:
        super().__init__()
        self.be_patient = be_patient
        self.was_silent = False

    async def have(self, request: web.Request) -> web.Response:
        if not self.was_silent:
            self.be_patient(0.2)
        return await super().have(request)

    async def bundle(self, request: web.Request) -> web.Response:
        if not self.was_silent:
            self.was_silent = True
            await eventually(lambda: request.transport is None or request.transport.is_closing())
            self.be_patient(120.0)
        return await super().bundle(request)


def refusal(code: Code, *, retry_after: str | None = None, **more: object) -> web.Response:
    body = msgspec.json.encode(
        {**msgspec.json.decode(refuse(code, "test", expected="this", got="that").refusal.problem()), **more}
    )
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return web.Response(status=code.status, body=body, headers=headers, content_type="application/problem+json")


def a_card(town: Town, *, seconds: int = 20) -> tuple[DockedCard, Made]:
    camera = Camera(DeviceId("cam-01"))
    made = camera.record(seconds=seconds)
    folder = write_card(camera, town.folder / "card")
    put_on_card(made, folder)
    return DockedCard(folder), made


@asynccontextmanager
async def uploading(receiver: Receiver) -> AsyncIterator[Uploader]:
    async with Uploader(receiver, chance=lambda: 0.01) as uploader:
        yield uploader


async def test_questions_share_a_connection_and_one_that_was_closed_meanwhile_is_opened_anew(town: Town) -> None:
    card, made = a_card(town)
    pretender = Pretender()
    async with pretender.serving(town) as receiver, uploading(receiver) as uploader:
        for _ in range(2):
            assert await uploader.deliver(1, card, card.contents(made.recording)) == b"receipt"
        first, again = pretender.asked_over
        assert first is again
        first.abort()
        assert await uploader.deliver(1, card, card.contents(made.recording)) == b"receipt"
        assert uploader.trouble is None
    assert pretender.asked_over[2] is not first


async def test_a_request_that_runs_out_of_time_stands_in_the_log_though_others_get_through(
    town: Town, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """So that a count of them in the logs of an evening counts something."""
    card, made = a_card(town)
    silent = SilentOnce(lambda patience_s: monkeypatch.setattr("dock_agent.uploader.ANSWER_S", patience_s))
    async with silent.serving(town) as receiver, uploading(receiver) as uploader:
        assert await uploader.deliver(1, card, card.contents(made.recording)) == b"receipt"
        assert uploader.trouble is None
    assert out_of_time(caplog.text)


async def test_a_connection_that_opens_while_the_dock_stops_is_closed_and_says_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, opened = HTTPSConnection.connect, list[HTTPSConnection]()
    pretender = Pretender()

    def meanwhile(connection: HTTPSConnection) -> None:
        lane.end()
        connect(connection)
        opened.append(connection)

    async with pretender.serving(town) as receiver:
        lane = Lane(receiver, Throttle())
        monkeypatch.setattr(HTTPSConnection, "connect", meanwhile)
        with pytest.raises(NoAnswer, match="stopping"):
            await asyncio.to_thread(lane.ask, "POST", "/v1/segments/have", bytes(32))
    assert [connection.sock for connection in opened] == [None]
    assert pretender.asked_over == []


async def test_what_the_receiver_has_is_not_sent_and_the_rest_is_sent_once(town: Town) -> None:
    card, made = a_card(town)
    pretender = Pretender()
    pretender.has = {digest.hex() for digest in made.digests[::3]}
    first = set(pretender.has)
    async with pretender.serving(town) as receiver, uploading(receiver) as uploader:
        heard: list[int] = []
        uploader.on_acknowledged(lambda _, size: heard.append(size))
        assert await uploader.deliver(1, card, card.contents(made.recording)) == b"receipt"
    assert set(pretender.came) == {digest.hex() for digest in made.digests} - first
    assert set(pretender.came.values()) == {1}
    assert sum(heard) == sum(map(len, made.segments))


async def test_small_segments_travel_together_and_large_ones_alone(town: Town) -> None:
    card, made = a_card(town, seconds=40)
    pretender = Pretender()
    async with pretender.serving(town) as receiver, uploading(receiver) as uploader:
        assert await uploader.deliver(1, card, card.contents(made.recording)) == b"receipt"
    assert pretender.came == Counter(digest.hex() for digest in made.digests)
    assert len(pretender.bundles) < 5


async def test_a_refused_segment_of_a_bundle_goes_again_alone_and_the_others_never(town: Town) -> None:
    card, made = a_card(town)
    pretender = Pretender()
    bad = made.digests[3].hex()
    pretender.dislikes = {bad}
    async with pretender.serving(town) as receiver, uploading(receiver) as uploader:
        assert await uploader.deliver(1, card, card.contents(made.recording)) == b"receipt"
    assert pretender.came == Counter({digest.hex(): 1 for digest in made.digests} | {bad: 2})
    assert pretender.has == {digest.hex() for digest in made.digests}


async def test_a_bundle_that_the_receiver_cannot_read_goes_segment_by_segment(town: Town) -> None:
    card, made = a_card(town)
    pretender = Pretender()
    pretender.answers = [refusal(Code.MALFORMED)]
    async with pretender.serving(town) as receiver, uploading(receiver) as uploader:
        assert await uploader.deliver(1, card, card.contents(made.recording)) == b"receipt"
    assert pretender.has == {digest.hex() for digest in made.digests}
    assert max(pretender.came.values()) == 2


@pytest.mark.parametrize(
    "code",
    [Code.TOO_MANY, *(pytest.param(code, marks=pytest.mark.slow) for code in (Code.UNAVAILABLE, Code.DISK_FULL))],
)
async def test_a_receiver_that_asks_for_patience_gets_it(town: Town, code: Code) -> None:
    card, made = a_card(town)
    pretender = Pretender()
    pretender.answers = [refusal(code, retry_after="1") for _ in range(3)]
    async with pretender.serving(town) as receiver, uploading(receiver) as uploader:
        started = time.monotonic()
        assert await uploader.deliver(1, card, card.contents(made.recording)) == b"receipt"
        assert time.monotonic() - started >= 1
    assert pretender.has == {digest.hex() for digest in made.digests}


async def test_a_proxy_s_error_page_is_no_answer_and_is_tried_again(town: Town) -> None:
    card, made = a_card(town, seconds=3)
    pretender = Pretender()
    pretender.answers = [web.Response(status=502, text="<html>Bad gateway</html>"), web.Response(status=404)]
    async with pretender.serving(town) as receiver, uploading(receiver) as uploader:
        assert await uploader.deliver(1, card, card.contents(made.recording)) == b"receipt"


async def test_a_refusal_for_ever_is_somebody_s_attention_and_not_a_loop(town: Town) -> None:
    card, made = a_card(town, seconds=3)
    pretender = Pretender()
    pretender.answers = [refusal(Code.UNKNOWN_IDENTITY) for _ in range(50)]
    async with pretender.serving(town) as receiver, uploading(receiver) as uploader:
        with pytest.raises(NeedsAttention):
            await uploader.deliver(1, card, card.contents(made.recording))
    assert set(pretender.came.values()) == {1}


async def test_the_limit_of_the_line_is_kept(town: Town) -> None:
    card, made = a_card(town, seconds=30)
    size = sum(map(len, made.segments))
    pretender = Pretender()
    async with pretender.serving(town) as receiver, uploading(receiver) as uploader:
        uploader.throttle.limit(rate := size / 2)
        started = time.monotonic()
        await uploader.deliver(1, card, card.contents(made.recording))
        took = time.monotonic() - started
    assert took >= (size - PIECE_BYTES) / rate - Throttle.BURST_S, "each piece waits for its time"


async def test_a_receiver_that_is_not_ours_is_never_spoken_to(town: Town, tmp_path: Path) -> None:
    """Another authority's server gets no byte of footage: the dock waits, as if nobody were there."""
    elsewhere = Town(tmp_path)
    card, made = a_card(town, seconds=3)
    pretender = Pretender()
    async with pretender.serving(elsewhere) as theirs:
        ours = Receiver(
            host=theirs.host,
            port=theirs.port,
            ca=town.authority.ca,
            certificate=town.dock.certificate,
            key=town.dock.key,
        )
        async with uploading(ours) as uploader:
            task = asyncio.create_task(uploader.deliver(1, card, card.contents(made.recording)))
            await eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in (uploader.trouble or ""))
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert not pretender.came
    await elsewhere.close()


def test_footage_is_never_sent_in_the_open() -> None:
    with pytest.raises(ValueError, match="https"):
        Receiver.at("http://127.0.0.1:1", ca=Path(), certificate=Path(), key=Path())


def test_settings_are_read_and_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "dock.toml"
    file.write_text('limit_mbit = 50\nconnections = 4\n[[window]]\nfrom = "08:00"\nuntil = "18:00"\nlimit_mbit = 5\n')
    read = read_settings(file)
    assert (read.limit_mbit, read.connections, read.windows[0].limit_mbit) == (50, 4, 5)
    for wrong, says in (
        ("limit_mbits = 5", "did you mean limit_mbit"),
        ("limit_mbit = -1", "0 or more"),
        ("connections = 99", "1 to 32"),
        ('[[window]]\nfrom = "8"\nuntil = "x"\nlimit_mbit = 1', "Invalid isoformat"),
    ):
        file.write_text(wrong)
        with pytest.raises(SettingsError, match=says):
            read_settings(file)

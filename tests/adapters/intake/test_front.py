"""The fast lane reads a head as aiohttp does, or leaves it to aiohttp; and a connection goes from one to the other."""

import asyncio
import random
import re
from contextlib import ExitStack

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.wire.delivery import bundle_name, length_in_bundle
from broker.wire.ids import DeviceId
from cloud.intake.front import HEAD_BYTES, read_head
from tests.adapters.intake.town import Camera, Made, Town
from tests.promptness import within

NAME = "ab" * 32
PLAIN = f"PUT /v1/segments/{NAME} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n".encode()

lines = st.sampled_from(
    [
        *(b"Host: x", b"host:x", b"HOST: a:1", b"Host: x y", b"Host:", b"Content-Length: 500", b"Content-length:7"),
        *(
            b"Content-Length: +5",
            b"Content-Length: 0",
            b"Content-Length: 05",
            b"Content-Length: 5 ",
            b"Content-Length: 1_0",
        ),
        *(
            b"Content-Length: 5, 5",
            b"Content-Length : 5",
            b"Content-Length:\t5",
            b"Transfer-Encoding: chunked",
            b" folded",
        ),
        *(
            b"Expect: 100-continue",
            b"Connection: close",
            b"Upgrade: websocket",
            b"Content-Encoding: gzip",
            b"X-Y: z",
            b"",
        ),
        *(
            b"User-Agent: curl/7",
            b"Accept: */*",
            b"Accept-Encoding: gzip, deflate",
            b"Content-Type: a/b",
            b"\xc3\xa9: 1",
        ),
        *(b"User-Agent: a\0b", b"Accept: \xff", b"Accept: a\rb", b"Accept: a\nTransfer-Encoding: chunked", b"no colon"),
    ]
)
first = st.sampled_from(
    [
        *(f"{method} /v1/{kind}/{name} HTTP/{version}".encode()
          for method in ("PUT", "put", "POST", "PUT ")
          for kind in ("segments", "bundles", "damaged", "segments/..", "segments?")
          for name in (NAME, NAME.upper(), NAME[1:], NAME + "?a=b", "%61" + NAME[1:])
          for version in ("1.1", "1.0", "2.0")),
        b"PUT http://h/v1/segments/" + NAME.encode() + b" HTTP/1.1",
    ]
)  # fmt: skip


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    ends = st.sampled_from([b"\r\n"] * 40 + [b"\n", b"\r", b"\r\n\r\n"])
    good = [b"Host: x", b"Content-Length: 500"] if draw(st.booleans()) else []
    more = draw(st.permutations([*good, *draw(st.lists(lines, max_size=4))]))
    parts = [PLAIN.partition(b"\r\n")[0] if draw(st.booleans()) else draw(first), *more]
    head = bytearray(b"".join(part + draw(ends) for part in parts) + b"\r\n")
    if draw(st.booleans()) and draw(st.booleans()):
        head[draw(st.integers(0, len(head) - 1))] = draw(st.integers(0, 255))
    cut = head.find(b"\r\n\r\n")
    return bytes(head[: cut + 4]) if cut >= 0 else bytes(head) + b"\r\n\r\n"


@settings(max_examples=1500)
@given(heads())
@example(PLAIN)
def test_what_the_fast_lane_takes_aiohttp_reads_the_same_way(head: bytes) -> None:
    wanted = read_head(head)
    if wanted is None:
        return
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
        messages, upgraded, _ = parser.feed_data(head)
    except HttpProcessingError as cause:
        raise AssertionError(f"aiohttp refuses what the fast lane takes: {cause}") from cause
    finally:
        loop.close()
    ((message, _),) = messages
    assert (message.method, message.path) == ("PUT", f"/v1/{wanted.kind}/{wanted.name}")
    assert message.headers.getall("Content-Length") == [str(wanted.size)]
    assert (message.chunked, message.upgrade, message.compression, upgraded) == (False, False, None, False)
    assert not message.should_close
    assert "Expect" not in message.headers


def test_the_plain_request_is_taken() -> None:
    wanted = read_head(PLAIN)
    assert wanted is not None
    assert (wanted.kind, wanted.name, wanted.size) == ("segments", NAME, 500)


def requests_of(made: Made, dice: random.Random) -> list[bytes]:
    """Good and odd requests, for one connection each to stay open after."""
    segments = list(zip(made.segments, made.digests, strict=True))
    body = b"".join(length_in_bundle(len(raw)) + raw for raw in made.segments)
    kinds = [
        b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        _put("segments", "0" * 64, segments[0][0]),
        _put("segments", segments[2][1].hex(), segments[2][0], more=b"X-Odd: 1\r\n"),
        _put("bundles", bundle_name(made.digests), body),
        _put("bundles", "1" * 64, body),
        *(_put("segments", digest.hex(), raw) for raw, digest in segments),
    ]
    return dice.choices(kinds, k=6)


def _put(kind: str, name: str, raw: bytes, *, more: bytes = b"") -> bytes:
    return (
        f"PUT /v1/{kind}/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n".encode() + more + b"\r\n" + raw
    )


async def statuses(town: Town, sent: list[bytes], dice: random.Random, *, tls: bool) -> list[int]:
    """Send all in one go, in pieces of any size, without waiting for answers; return the statuses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", town.port, ssl=town.tls() if tls else None)
    stream = b"".join(sent)
    place = 0
    while place < len(stream):
        step = dice.choice([1, 7, 100, 5000, 40_000, HEAD_BYTES])
        writer.write(stream[place : place + step])
        place += step
        if dice.random() < 0.3:
            await writer.drain()
    found = []
    for _ in sent:
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
        found.append(int(head.split()[1]))
        length = re.search(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
    writer.transport.abort()
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_one_connection_says_the_same_with_and_without_the_fast_lane(town: Town, seed: int) -> None:
    """Pipelined, in pieces of any size, mixing what the lane takes with what it gives away."""
    camera = await town.enrol(Camera(DeviceId("cam-01")))
    said = []
    for fast in (True, False):
        dice, found = random.Random(seed), []
        town.fast = fast
        async with town.serving():
            for number in range(4):
                made = camera.record(seconds=3, bytes_each=9000, filler=random.Random(number))
                found += await statuses(town, requests_of(made, dice), dice, tls=True)
        said.append(found)
    assert said[0] == said[1]


async def test_a_receiver_that_stops_lets_go_of_idle_connections_at_once(town: Town) -> None:
    with ExitStack() as stopping:
        async with town.serving():
            reader, writer = await asyncio.open_connection("127.0.0.1", town.port, ssl=town.tls())
            await asyncio.sleep(0.05)
            stopping.enter_context(within(3.0))
    assert await reader.read() == b""
    writer.transport.abort()

"""Very many cameras in one process: the bytes of MQTT 3.1.1 over mutual TLS, and nothing else.

``python -m tests.benchmarks.swarm FOLDER PORT FIRST COUNT`` is started by `tests.benchmarks.broker`; it says each
second in one line of JSON how many are connected and what they said.

A client library costs a second of CPU per second for ten thousand connections; what is measured here is the broker and
the cloud. Each camera has its own certificate, a last will, the subscriptions and the rates of a real one, and
comes back after a lost connection as `broker.client.stay_connected` does.
"""

import asyncio
import gc
import json
import random
import resource
import ssl
import struct
import sys
import time
from asyncio import sslproto
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from broker.wire import topics
from broker.wire.events import Activation, CameraState, Event, Telemetry, encode, kind_of, source_of
from broker.wire.ids import DeviceId, Org, uuid7

BEAT_S = 30.0
"""How often a camera says how it is, and measures."""

PRESS_EVERY_S = 3600.0
"""How often somebody presses, per camera."""

OPENING_AT_ONCE = 32
"""Handshakes of one swarm at the same time: real cameras have a processor each, here they share the broker's."""


class Tally:
    """What the swarm did so far."""

    def __init__(self) -> None:
        self.connected = 0
        self.said = 0
        self.acknowledged = 0
        self.pressed = 0
        self.connects = 0
        self.refused = 0
        self.failed = 0
        self.heard = 0
        self.slowest_ack_s = 0.0


class Camera(asyncio.Protocol):
    """One connection's bytes."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.over = asyncio.get_running_loop().create_future()
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rest = b""
        self._sent: dict[int, float] = {}
        self._next = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, _cause: Exception | None) -> None:
        if self.open.done() and not self.open.cancelled() and self.open.exception() is None:
            self.tally.connected -= 1
        elif not self.open.done():
            self.open.set_exception(ConnectionError("closed"))
        if not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (packet := self._take()) is not None:
            kind, body = packet
            if kind >> 4 == 2:
                if body[1]:
                    self.tally.refused += 1
                    self.transport.close()
                elif not self.open.done():
                    self.tally.connected += 1
                    self.open.set_result(None)
            elif kind >> 4 == 9 and 0x80 in body[2:]:
                self.tally.refused += 1
            elif kind >> 4 == 4:
                began = self._sent.pop(int.from_bytes(body[:2], "big"), None)
                if began is not None:
                    self.tally.acknowledged += 1
                    self.tally.slowest_ack_s = max(self.tally.slowest_ack_s, time.perf_counter() - began)
            elif kind >> 4 == 3:
                self.tally.heard += 1
                if kind & 6:  # acknowledge what came at QoS 1
                    length = int.from_bytes(body[:2], "big")
                    self._write(0x40, body[2 + length : 4 + length])

    def connect(self, client: str, will: tuple[str, bytes]) -> None:
        body = _text("MQTT") + bytes([4, 0b00101100]) + struct.pack(">H", 60)
        self._write(0x10, body + _text(client) + _text(will[0]) + struct.pack(">H", len(will[1])) + will[1])

    def subscribe(self, wanted: list[tuple[str, int]]) -> None:
        self._write(
            0x82, struct.pack(">H", self._number()) + b"".join(_text(each) + bytes([qos]) for each, qos in wanted)
        )

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        self.tally.said += qos
        number = b""
        if qos:
            name = self._number()
            self._sent[name] = time.perf_counter()
            number = struct.pack(">H", name)
        self._write(0x30 | qos << 1 | retain, _text(topic) + number + payload)

    def _number(self) -> int:
        self._next = self._next % 65_535 + 1
        return self._next

    def _write(self, kind: int, body: bytes) -> None:
        assert isinstance(self.transport, asyncio.WriteTransport)
        self.transport.write(bytes([kind]) + _length(len(body)) + body)

    def _take(self) -> tuple[int, bytes] | None:
        size, shift, at = 0, 0, 1
        while True:
            if at >= len(self._rest):
                return None
            byte = self._rest[at]
            size |= (byte & 127) << shift
            shift, at = shift + 7, at + 1
            if not byte & 128:
                break
        if len(self._rest) < at + size:
            return None
        kind, body = self._rest[0], self._rest[at : at + size]
        self._rest = self._rest[at + size :]
        return kind, body


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">H", len(raw)) + raw


def _length(size: int) -> bytes:
    made = bytearray()
    while True:
        size, low = divmod(size, 128)
        made.append(low | (128 if size else 0))
        if not size:
            return bytes(made)


class Voice:
    """What one camera says."""

    def __init__(self, org: Org, device: DeviceId) -> None:
        self.org, self.device = org, device
        self.boot = str(uuid4())
        self._source = source_of("0" * 20, org, "cam", device)
        self._numbers = [0, 0]
        self.battery = random.uniform(40, 100)

    def say(self, said: CameraState | Telemetry | Activation) -> bytes:
        numbered = isinstance(said, Activation)
        self._numbers[numbered] += 1
        now = _now()
        return encode(
            Event(
                id=uuid7(now, random.randbytes(10)),
                source=self._source,
                session=self.boot,
                sequence=self._numbers[numbered],
                time=now,
                said=said,
            )
        )

    def state(self, status: str = "standby") -> bytes:
        self.battery -= 0.01
        return self.say(
            CameraState(
                status=status,  # type: ignore[arg-type]
                boot=self.boot,
                buffering=True,
                battery_pct=round(self.battery),
                card_free_pct=90,
                settings_version=1,
            )
        )

    def telemetry(self) -> bytes:
        return self.say(
            Telemetry(battery_pct=round(self.battery), card_free_pct=90, temperature_c=24.0, clock_offset_ms=0)
        )


def _now() -> datetime:
    return datetime.now(UTC)


async def live(folder: Path, port: int, org: Org, device: DeviceId, tally: Tally, doors: asyncio.Semaphore) -> None:
    """One camera: connected for as long as it can be, with the back-off of the product."""
    voice, attempt = Voice(org, device), 0
    wanted = [(topics.camera_desired(org, device), 0), (topics.camera_receipt(org, device), 0)]
    wanted += [(topics.camera_command(org, device, "+"), 1)]
    state = topics.camera_state(org, device)
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            async with doors:
                began = loop.time()
                camera = await _open(folder, port, device, tally)
                camera.connect(f"{device}-swarm", (state, voice.state("lost")))
                async with asyncio.timeout(30):
                    await camera.open
            tally.connects += 1
            camera.subscribe(wanted)
            camera.publish(state, voice.state(), qos=1, retain=True)
            await _say_on(camera, voice, state, org, tally)
        except (OSError, TimeoutError):
            tally.failed += 1
        if loop.time() - began > 30:
            attempt = 0
        await asyncio.sleep(min(30.0, 0.5 * 2 ** min(attempt, 30)) * random.random())
        attempt += 1


async def _open(folder: Path, port: int, device: DeviceId, tally: Tally) -> Camera:
    tls = ssl.create_default_context(cafile=folder / "pki" / "ca.crt")
    pem = folder / "swarm" / f"{device}.pem"
    tls.load_cert_chain(pem)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        _, camera = await loop.create_connection(
            lambda: Camera(tally), "127.0.0.1", port, ssl=tls, server_hostname="localhost"
        )
    return camera


async def _say_on(camera: Camera, voice: Voice, state: str, org: Org, tally: Tally) -> None:
    """Beat and press until the connection is over."""
    telemetry = topics.camera_telemetry(org, voice.device)
    wait = random.uniform(0, BEAT_S)
    while True:
        done, _ = await asyncio.wait({camera.over}, timeout=wait)
        if done:
            return
        wait = BEAT_S
        camera.publish(state, voice.state(), qos=1, retain=True)
        camera.publish(telemetry, voice.telemetry(), qos=0)
        if random.random() < BEAT_S / PRESS_EVERY_S:
            now = _now()
            said = Activation(recording=uuid7(now, random.randbytes(10)), activated_at=now, pre_record_s=30.0)
            camera.publish(topics.camera_event(org, voice.device, kind_of(said)), voice.say(said), qos=1)
            tally.pressed += 1


async def swarm(folder: Path, port: int, first: int, count: int) -> None:
    """Let so many cameras live, and say each second how they do."""
    tally, doors = Tally(), asyncio.Semaphore(OPENING_AT_ONCE)
    org = Org("heusden")
    async with asyncio.TaskGroup() as group:
        for number in range(first, first + count):
            group.create_task(live(folder, port, org, DeviceId(f"cam-{number:05}"), tally, doors))
        gc.freeze()
        while True:
            sys.stdout.write(json.dumps({"at": time.time(), **vars(tally)}) + "\n")
            sys.stdout.flush()
            tally.slowest_ack_s = 0.0
            await asyncio.sleep(1)


if __name__ == "__main__":
    sslproto.SSLProtocol.max_size = 16_384  # else a quarter of a mebibyte for each connection
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(swarm(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))

"""Sending to the receiver: a few plain threads with one connection and one buffer each.

Bytes stay out of the event loop; the loop decides who sends what. A segment is the unit of everything: of resuming (the
receiver says which it has), of fairness between bays, of trying again. Whatever happens to the line, waiting never
ends by itself: the footage is safe on the camera, and so there is time. Small segments travel in bundles, and each of
them is acknowledged on its own.
"""

import asyncio
import contextlib
import functools
import hashlib
import http.client
import itertools
import logging
import select
import socket
import ssl
import threading
import time
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

import msgspec

from broker.wire.delivery import LENGTH_BYTES, bundle_name, length_in_bundle
from broker.wire.refusals import Code
from dock_agent.card_reader import CardGone, CardSick, Contents, DockedCard, Pieces, SegmentFile
from dock_agent.rules.offload import Load, Pace, after_refusal, next_load, together, wait_s

LOG: Final = logging.getLogger(__name__)

PIECE_BYTES: Final = 128 * 1024
STALL_S: Final = 30.0  # no byte taken, or no answer, for so long: the line is dead
CONNECT_S: Final = 10.0
ANSWER_S: Final = 120.0  # a long recording is checked before its receipt
MEASURE_S: Final = 1.0  # of sending, before the pace is looked at again
FIRST_MEASURE_S: Final = 0.25  # until then bundles are small: on a fast line that is soon known
MOST_IN_BUNDLE: Final = 512
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
ASKS_AT_ONCE: Final = 4  # questions and submissions; each has a connection of its own

T = TypeVar("T")


class NoAnswer(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The receiver cannot be reached, or went silent. Later it may be there again."""


class SaidNo(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """The receiver refused. `retry_after_s` is what it asked for, if anything.

    `named` says which segments of a bundle were refused, and why; the others are acknowledged. Empty: all were refused.
    """

    def __init__(
        self, code: Code, says: str, *, retry_after_s: float | None, named: Mapping[str, Code] | None = None
    ) -> None:
        super().__init__(says)
        self.code = code
        self.retry_after_s = retry_after_s
        self.named = named or {}


class NeedsAttention(Exception):  # noqa: N818 - reads as a sentence where it is raised
    """A recording cannot be delivered as it is. The camera keeps everything, and somebody must look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where to send, and who we are to it."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def at(cls, url: str, *, ca: Path, certificate: Path, key: Path) -> "Receiver":
        """Parse ``https://host:port``; raise ValueError for anything else: footage is never sent in the open."""
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.hostname is None:
            raise ValueError(f"receiver: expected https://host:port, got {url!r}")
        return cls(host=parts.hostname, port=parts.port or 443, ca=ca, certificate=certificate, key=key)

    def tls(self) -> ssl.SSLContext:
        """Return TLS 1.3 to exactly this municipality's receiver. Read anew once a file is another: a renewed one."""
        files = [path.stat() for path in (self.ca, self.certificate, self.key)]
        return _tls(self, tuple((each.st_ino, each.st_mtime_ns) for each in files))


@functools.lru_cache(maxsize=4)
def _tls(receiver: Receiver, _written: tuple[tuple[int, int], ...]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(receiver.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(receiver.certificate, receiver.key)
    return context


class Throttle:
    """At most so many bytes per second, over all threads together; None is no limit, 0 stops."""

    BURST_S: Final = 0.25

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rate: float | None = None
        self._free_at = 0.0

    def limit(self, bytes_per_s: float | None) -> None:
        """Change the limit."""
        with self._lock:
            self._rate = bytes_per_s

    def take(self, size: int) -> None:
        """Wait until `size` bytes may go."""
        while True:
            with self._lock:
                if self._rate is None:
                    return
                now = time.monotonic()
                if self._rate > 0:
                    start = max(self._free_at, now - self.BURST_S)
                    self._free_at = start + size / self._rate
                    wait = start - now
                    break
            time.sleep(0.5)
        if wait > 0:
            time.sleep(wait)


class Lane:
    """One connection and one buffer, used by one thread at a time; opens itself again when it has to."""

    def __init__(self, receiver: Receiver, throttle: Throttle) -> None:
        self._receiver = receiver
        self._throttle = throttle
        self._over = False
        self._buffer = memoryview(bytearray(PIECE_BYTES))
        self._connection: http.client.HTTPSConnection | None = None

    def put(self, card: DockedCard, segments: Sequence[SegmentFile]) -> None:
        """Send one segment, or several in a bundle. Raise CardGone, CardSick, NoAnswer or SaidNo."""
        card.check_there()
        bundled = len(segments) > 1

        def body(connection: http.client.HTTPSConnection) -> None:
            def send(piece: memoryview) -> None:
                self._throttle.take(len(piece))
                with _line_errors():
                    connection.send(piece)

            pieces = Pieces(self._buffer, send)
            for segment in segments:
                if bundled:
                    pieces.add(length_in_bundle(segment.size))
                card.send(segment, pieces)
            pieces.flush()

        size = sum(each.size for each in segments) + bundled * LENGTH_BYTES * len(segments)
        if bundled:
            path = f"/v1/bundles/{bundle_name(each.digest for each in segments)}"
        else:
            path = f"/v1/segments/{segments[0].digest.hex()}"
        self._ask("PUT", path, size=size, body=body)

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send a small request and return the answer's body. Raise NoAnswer or SaidNo."""

        def send(connection: http.client.HTTPSConnection) -> None:
            with _line_errors():
                connection.send(body)

        return self._ask(method, path, size=len(body), body=send if body else None)

    @property
    def is_over(self) -> bool:
        """Whether it was closed for good."""
        return self._over

    def end(self) -> None:
        """Close the connection for good, from any thread; one that is using it gets NoAnswer."""
        self._over = True
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            sock = connection.sock  # the thread that uses it may close it at any moment
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _ask(
        self, method: str, path: str, *, size: int, body: Callable[[http.client.HTTPSConnection], None] | None
    ) -> bytes:
        try:
            connection = self._open()
            with _line_errors():
                connection.putrequest(method, path, skip_accept_encoding=True)
                connection.putheader("Content-Length", str(size))
                connection.endheaders()
            early = None
            if body is not None:
                try:
                    body(connection)
                except NoAnswer as cause:
                    early = cause  # a receiver that refuses early answers and closes: the answer may be there
            return self._answer(connection, early)
        except SaidNo:
            raise
        except BaseException:
            self.close()  # half a request is on the line
            raise

    def _answer(self, connection: http.client.HTTPSConnection, early: NoAnswer | None) -> bytes:
        try:
            with _line_errors():
                if connection.sock is not None:
                    connection.sock.settimeout(ANSWER_S if early is None else 1.0)
                answer = connection.getresponse()
                content = answer.read(MAX_ANSWER_BYTES)
                if connection.sock is not None:
                    connection.sock.settimeout(STALL_S)
        except NoAnswer as cause:
            raise (early or cause) from cause
        if answer.will_close:
            self.close()
        if answer.status < 300:
            return content
        raise _said_no(answer, content)

    def _open(self) -> http.client.HTTPSConnection:
        if self._over:
            raise NoAnswer("receiver: the dock is stopping")
        if self._connection is not None and _is_dead(self._connection):
            self.close()  # the receiver closes what is idle for long
        connection = self._connection
        if connection is None or connection.sock is None:
            with _line_errors():
                connection = http.client.HTTPSConnection(
                    self._receiver.host, self._receiver.port, timeout=CONNECT_S, context=self._receiver.tls()
                )
                self._connection = connection
                connection.connect()
                if self._over:  # ended meanwhile: before there was anything to close
                    connection.close()
                    raise NoAnswer("receiver: the dock is stopping")
                assert connection.sock is not None
                connection.sock.settimeout(STALL_S)
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


@dataclass(slots=True, kw_only=True, eq=False)
class _Queue:
    """What one bay has to send of one recording."""

    bay: int
    pressed: bool
    card: DockedCard
    segments: deque[SegmentFile]
    left: int
    done: "asyncio.Future[None]"
    tries: dict[int, int]
    damaged: dict[int, SegmentFile]

    def take(self, *, rate: float | None) -> list[SegmentFile]:
        """Take what is sent next in one body; what was refused before goes on its own."""
        fresh = itertools.takewhile(lambda each: each.sequence not in self.tries, self.segments)
        count = together([each.size for each in itertools.islice(fresh, MOST_IN_BUNDLE)], rate=rate)
        return [self.segments.popleft() for _ in range(count)]

    def count(self, segments: Iterable[SegmentFile]) -> None:
        """Count one refusal of these bytes."""
        for each in segments:
            self.tries[each.sequence] = self.tries.get(each.sequence, 0) + 1


class Uploader:
    """Delivers recordings. `async with` it; then `deliver` from as many bays as there are."""

    def __init__(
        self,
        receiver: Receiver,
        *,
        chance: Callable[[], float],
        most: int = 8,
    ) -> None:
        """`chance` gives numbers from 0 to 1; `most` is how many connections send at the same time at most."""
        self._receiver = receiver
        self._chance = chance
        self._acknowledged: Callable[[int, int], None] = lambda _bay, _size: None
        self.throttle = Throttle()
        self._pace = Pace(most=most)
        self._queues: list[_Queue] = []
        self._served: dict[int, int] = {}
        self._work = asyncio.Condition()
        self._sending = 0
        self._lanes: set[Lane] = set()
        self._asks = asyncio.Semaphore(ASKS_AT_ONCE)
        self._free: list[Lane] = []  # for asking
        self._tasks: list[asyncio.Task[None]] = []
        self._senders = ThreadPoolExecutor(max_workers=most, thread_name_prefix="dock-sender")
        self._asking = ThreadPoolExecutor(max_workers=ASKS_AT_ONCE, thread_name_prefix="dock-asks")
        self._busy_s = 0.0
        self._busy_bytes = 0
        self.trouble: str | None = None
        self.rate: float | None = None

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._send_on(number), name=f"dock.sender-{number}")
            for number in range(self._pace.most)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        self.throttle.limit(None)
        for lane in list(self._lanes):
            lane.end()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for threads in (self._senders, self._asking):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)

    def on_acknowledged(self, heard: Callable[[int, int], None]) -> None:
        """Let `heard` know (bay, bytes) of what the receiver has acknowledged."""
        self._acknowledged = heard

    def new_visit(self, bay: int) -> None:
        """A camera came: what this bay was served before does not count against it."""
        self._served[bay] = min(self._served.values(), default=0)

    async def deliver(self, bay: int, card: DockedCard, contents: Contents) -> bytes:
        """Send what the receiver lacks of a recording and return its receipt, however long that takes.

        Raise CardGone, CardSick, or NeedsAttention.
        """
        damaged: dict[int, SegmentFile] = {}
        while True:
            candidates = [each for each in contents.segments if each.sequence not in damaged]
            lacking = await self._lacking(candidates)
            self._acknowledged(bay, sum(each.size for each in candidates) - sum(each.size for each in lacking))
            damaged |= await self._send(bay, card, contents.on_card.pressed, lacking)
            names = {sequence: await self._keep_as_it_is(card, segment) for sequence, segment in damaged.items()}
            try:
                return await self._submit(contents, names)
            except SaidNo as refused:
                if after_refusal(refused.code, tries=1) != "have":
                    raise NeedsAttention(str(refused)) from refused

    def pause_s(self, attempt: int) -> float:
        """Return how long to wait after so many failures in a row."""
        return wait_s(attempt, chance=self._chance())

    async def keylist(self) -> tuple[bytes, bytes]:
        """Return the signed key list and the newest checkpoint. Raise NoAnswer, SaidNo."""
        answer = await self._once("GET", "/v1/keylist")
        try:
            said = msgspec.json.decode(answer, type=dict[str, str])
            return b64decode(said["keylist"]), said["checkpoint"].encode()
        except (msgspec.DecodeError, KeyError, ValueError) as cause:
            raise NoAnswer(f"key list: expected keylist and checkpoint, got {answer[:80]!r}") from cause

    async def carry(self, path: str, letter: bytes) -> bytes:
        """Bring a camera's letter and return the answer, empty when there is none yet. Raise NoAnswer, SaidNo."""
        return await self._once("POST", path, letter)

    # --- one recording ------------------------------------------------------------------------------------------

    async def _lacking(self, segments: Sequence[SegmentFile]) -> list[SegmentFile]:
        """Ask which of these the receiver has not got: one round trip, however many there are."""
        digests = b"".join(each.digest for each in segments)
        bits = await self._patiently(lambda: self._once("POST", "/v1/segments/have", digests)) if segments else b""
        if len(bits) != (len(segments) + 7) // 8:
            raise NeedsAttention(f"the receiver answered {len(bits)} bytes about {len(segments)} segments")
        return [each for place, each in enumerate(segments) if not bits[place // 8] >> 7 - place % 8 & 1]

    async def _send(
        self, bay: int, card: DockedCard, pressed: bool, segments: Iterable[SegmentFile]
    ) -> dict[int, SegmentFile]:
        """Send these; return those that do not verify, by sequence."""
        waiting = deque(segments)
        if not waiting:
            return {}
        queue = _Queue(
            bay=bay,
            pressed=pressed,
            card=card,
            segments=waiting,
            left=len(waiting),
            done=asyncio.get_running_loop().create_future(),
            tries={},
            damaged={},
        )
        self._queues.append(queue)
        try:
            async with self._work:
                self._work.notify_all()
            await queue.done
        finally:
            self._queues.remove(queue)
        return queue.damaged

    async def _keep_as_it_is(self, card: DockedCard, segment: SegmentFile) -> str:
        raw = await asyncio.to_thread(card.raw, segment)
        name = hashlib.sha256(raw).hexdigest()
        await self._patiently(lambda: self._once("PUT", f"/v1/damaged/{name}", raw))
        return name

    async def _submit(self, contents: Contents, damaged: dict[int, str]) -> bytes:
        body = msgspec.json.encode(
            {
                "head": b64encode(contents.head).decode(),
                "digests": [each.digest.hex() for each in contents.segments],
                "end": b64encode(contents.end).decode(),
                "damaged": {str(sequence): name for sequence, name in damaged.items()},
            }
        )
        path = f"/v1/recordings/{contents.on_card.recording}"
        return await self._patiently(lambda: self._once("PUT", path, body))

    async def _once(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Ask over a connection that is open already, where one is free: a handshake costs more than the question."""
        async with self._asks:
            lane = self._free.pop() if self._free else Lane(self._receiver, self.throttle)
            self._lanes.add(lane)
            try:
                return await self._hop(self._asking, lambda: lane.ask(method, path, body))
            except asyncio.CancelledError:
                lane.end()  # its thread, which may still wait for an answer, hears so
                raise
            finally:
                if lane.is_over:
                    self._lanes.discard(lane)
                else:
                    self._free.append(lane)

    async def _hop(self, threads: ThreadPoolExecutor, do: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, do)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer that is not *later*. Raise SaidNo for all others."""
        attempt = 0
        while True:
            try:
                answer = await ask()
                self.trouble = None
                return answer
            except SaidNo as refused:
                if after_refusal(refused.code, tries=1) != "wait":
                    raise
                self.trouble, retry_after_s = str(refused), refused.retry_after_s
            except NoAnswer as gone:
                self._lost(gone)
                retry_after_s = None
            await asyncio.sleep(wait_s(attempt, chance=self._chance(), retry_after_s=retry_after_s))
            attempt += 1

    # --- the senders --------------------------------------------------------------------------------------------

    async def _send_on(self, number: int) -> None:
        """One sender: takes what is next whenever the pace lets it."""
        lane = Lane(self._receiver, self.throttle)
        self._lanes.add(lane)
        attempt = 0
        try:
            while True:
                queue, segments = await self._next(number)
                self._sending += 1
                try:
                    outcome = await self._try(lane, queue, segments, attempt)
                finally:
                    self._sending -= 1
                attempt = 0 if outcome is None else attempt + 1
                if outcome is not None:
                    await asyncio.sleep(outcome)
        finally:
            self._lanes.discard(lane)
            lane.end()

    async def _next(self, number: int) -> tuple[_Queue, list[SegmentFile]]:
        async with self._work:
            while True:
                waiting = [queue for queue in self._queues if queue.segments and not queue.done.done()]
                if waiting and number < self._pace.connections:
                    loads = {
                        Load(bay=each.bay, pressed=each.pressed, served_bytes=self._served.get(each.bay, 0)): each
                        for each in waiting
                    }
                    chosen = next_load(list(loads))
                    assert chosen is not None
                    queue = loads[chosen]
                    segments = queue.take(rate=self.rate)
                    self._served[queue.bay] = self._served.get(queue.bay, 0) + _bytes(segments)
                    return queue, segments
                await self._work.wait()

    async def _try(self, lane: Lane, queue: _Queue, segments: list[SegmentFile], attempt: int) -> float | None:
        """Send these; return None when that is done with, else how long to wait before anything else."""
        started = time.monotonic()
        try:
            await self._hop(self._senders, lambda: lane.put(queue.card, segments))
        except (CardGone, CardSick) as out:
            _fail(queue, out)
        except NoAnswer as gone:
            self._lost(gone)
            self._pace = self._pace.lost()
            await self._give_back(queue, segments)
            return wait_s(attempt, chance=self._chance())
        except SaidNo as refused:
            return await self._refused(queue, segments, refused, attempt)
        else:
            self.trouble = None
            self._settle(queue, segments)
            await self._measure(_bytes(segments), time.monotonic() - started)
        return None

    def _lost(self, gone: NoAnswer) -> None:
        """Write it down as it happens: where others still get through, no bay ever shows it."""
        if self.trouble != str(gone):
            LOG.warning("dock: %s", gone)
        self.trouble = str(gone)

    def _settle(self, queue: _Queue, segments: Sequence[SegmentFile]) -> None:
        self._acknowledged(queue.bay, _bytes(segments))
        _finish(queue, len(segments))

    async def _refused(self, queue: _Queue, segments: list[SegmentFile], refused: SaidNo, attempt: int) -> float | None:
        if len(segments) > 1 and (refused.named or after_refusal(refused.code, tries=1) in {"again", "damaged"}):
            await self._refused_bundle(queue, segments, refused)
            return None
        tries = 1 + max(queue.tries.get(each.sequence, 0) for each in segments)
        match after_refusal(refused.code, tries=tries):
            case "again":
                queue.count(segments)
                await self._give_back(queue, segments)
            case "wait":
                self.trouble = str(refused)
                self._pace = self._pace.pushed_back()
                await self._give_back(queue, segments)
                return wait_s(attempt, chance=self._chance(), retry_after_s=refused.retry_after_s)
            case "damaged":
                for segment in segments:
                    LOG.warning("dock: segment %s of %s: %s", segment.sequence, segment.recording, refused)
                    queue.damaged[segment.sequence] = segment
                _finish(queue, len(segments))
            case "have" | "attention":
                _fail(queue, NeedsAttention(str(refused)))
        return None

    async def _refused_bundle(self, queue: _Queue, segments: list[SegmentFile], refused: SaidNo) -> None:
        """Take a bundle apart: what was refused goes again, each on its own, and hears there what is wrong with it."""
        again = [each for each in segments if not refused.named or each.digest.hex() in refused.named]
        queue.count(again)
        good = [each for each in segments if each not in again]
        if good:
            self._settle(queue, good)
        await self._give_back(queue, again)

    async def _give_back(self, queue: _Queue, segments: Sequence[SegmentFile]) -> None:
        queue.segments.extendleft(reversed(segments))
        self._served[queue.bay] -= _bytes(segments)
        async with self._work:
            self._work.notify_all()

    async def _measure(self, size: int, took_s: float) -> None:
        """Look at the pace again after some seconds of sending, by what all connections did together."""
        self._busy_s += took_s / max(self._sending, 1)
        self._busy_bytes += size
        if self._busy_s < (FIRST_MEASURE_S if self.rate is None else MEASURE_S):
            return
        rate = self._busy_bytes / self._busy_s
        self.rate = rate if self.rate is None else (self.rate + rate) / 2
        self._busy_s, self._busy_bytes = 0.0, 0
        self._pace = self._pace.measured(rate)
        async with self._work:
            self._work.notify_all()


def _bytes(segments: Iterable[SegmentFile]) -> int:
    return sum(each.size for each in segments)


def _finish(queue: _Queue, count: int) -> None:
    queue.left -= count
    if not queue.left and not queue.done.done():
        queue.done.set_result(None)


def _fail(queue: _Queue, why: Exception) -> None:
    if not queue.done.done():
        queue.done.set_exception(why)


class _line_errors(contextlib.AbstractContextManager[None]):  # noqa: N801 - used as a function
    """Whatever the line does, it has one name."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, http.client.HTTPException)):
            raise NoAnswer(f"receiver: {type(error).__name__}: {error}") from error


def _is_dead(connection: http.client.HTTPSConnection) -> bool:
    """Say whether the other side closed it, or says something that nobody asked for. Between two requests."""
    if connection.sock is None:
        return True
    watched = select.poll()
    watched.register(connection.sock, select.POLLIN)
    return bool(watched.poll(0))


def _said_no(answer: http.client.HTTPResponse, content: bytes) -> Exception:
    """Read a refusal; what is not one (a proxy's page) is no answer of the receiver."""
    try:
        problem = msgspec.json.decode(content, type=dict[str, object])
        name = str(problem["type"]).removeprefix("urn:vier-ogen:refusal:").upper().replace("-", "_")
        code = Code[name]
    except (msgspec.DecodeError, KeyError, TypeError):
        return NoAnswer(f"receiver: expected an answer of the receiver, got {answer.status} {content[:80]!r}")
    after = answer.getheader("Retry-After", "")
    return SaidNo(
        code,
        str(problem.get("detail", name)),
        retry_after_s=float(after) if after.isdecimal() else None,
        named=_named(problem),
    )


def _named(problem: Mapping[str, object]) -> dict[str, Code]:
    """Return which segments of a bundle a problem names; none when it names what cannot be read."""
    try:
        named = msgspec.convert(problem.get("refused", {}), dict[str, str])
        return {digest: Code[code] for digest, code in named.items()}
    except (msgspec.ValidationError, KeyError):
        return {}

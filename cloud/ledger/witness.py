"""Other eyes on the ledger: a witness signs only what grew from what it saw before (C2SP tlog-witness).

With a witness, whoever holds the ledger's key still cannot show two people two ledgers. The witness needs no entries,
only the newest checkpoint and the proof of growth: another municipality, an auditor, or the water board can be one.
"""

import asyncio
import contextlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.clock import Clock
from broker.durable import replace
from broker.wire.refusals import Code, Refused, refuse
from broker.wire.tlog import EMPTY_ROOT, Checkpoint, check_consistency, check_cosignature, cosign, read_checkpoint
from cloud.ledger.answers import read_answer
from cloud.ledger.log import Ledger
from cloud.ledger.tiles import sync_folders, write_durably

MAX_REQUEST_BYTES: Final = 65_536
ANSWER_S: Final = 10.0
"""How long a witness may take; a ledger without its answer goes on and asks again with the next checkpoint."""


class Witness:
    """Signs checkpoints of the ledgers it knows, each at least as large as the last, and remembers durably before."""

    def __init__(
        self, folder: Path, *, name: str, key: Ed25519PrivateKey, ledgers: Mapping[str, Ed25519PublicKey]
    ) -> None:
        self._folder, self._name, self._key, self._ledgers = folder, name, key, ledgers

    def seen(self, origin: str) -> Checkpoint | None:
        """Return the largest checkpoint of this ledger that was cosigned."""
        with contextlib.suppress(FileNotFoundError):
            return read_checkpoint(self._path(origin).read_bytes(), origin=origin, key=self._ledgers[origin])
        return None

    def add(self, note: bytes, *, old_size: int, path: tuple[bytes, ...], posix_s: int) -> bytes:
        """Return the cosignature's line; raise Refused: NOT_FOUND (whose ledger?), CONFLICT (grew from another size).

        BAD_SIGNATURE: not signed by the ledger, or not grown from what was seen; somebody must be told.
        """
        origin = note.partition(b"\n")[0].decode(errors="replace")
        if origin not in self._ledgers:
            raise refuse(Code.NOT_FOUND, "ledger", expected=" or ".join(self._ledgers), got=origin)
        checkpoint = read_checkpoint(note, origin=origin, key=self._ledgers[origin])
        before = self.seen(origin)
        size, root = (before.size, before.root) if before else (0, EMPTY_ROOT)
        if old_size != size:
            raise refuse(Code.CONFLICT, "checkpoint", expected=str(size), got=old_size)
        check_consistency(first=size, first_root=root, second=checkpoint.size, second_root=checkpoint.root, path=path)
        write_durably(self._path(origin), note)
        sync_folders({self._folder})
        return cosign(note, name=self._name, key=self._key, posix_s=posix_s)[len(note) :]

    def _path(self, origin: str) -> Path:
        return self._folder / f"{origin.encode().hex()}.checkpoint"


def witness_application(witness: Witness, clock: Clock) -> web.Application:
    """Return the web application with the one route of C2SP tlog-witness, POST /add-checkpoint."""
    turn = asyncio.Lock()

    async def add_checkpoint(request: web.Request) -> web.Response:
        try:
            old_size, path, note = _read_body(await request.read())
            async with turn:
                line = await asyncio.to_thread(
                    witness.add, note, old_size=old_size, path=path, posix_s=int(clock().timestamp())
                )
        except Refused as refused:
            return _answer(refused)
        return web.Response(body=line, content_type="text/plain", charset="utf-8")

    application = web.Application(client_max_size=MAX_REQUEST_BYTES)
    application.router.add_post("/add-checkpoint", add_checkpoint)
    return application


async def ask_witness(
    ledger: Ledger, session: aiohttp.ClientSession, url: str, *, name: str, key: Ed25519PublicKey
) -> Checkpoint:
    """Let a witness cosign the newest checkpoint and keep its line; return that checkpoint with it.

    The ledger may have grown meanwhile: then the line is not in its folder, and only here.

    Raises Refused: UNAVAILABLE (no answer: ask again later) or BAD_SIGNATURE (it will not: somebody must be told).
    """
    checkpoint = ledger.checkpoint()
    with contextlib.suppress(Refused):
        check_cosignature(checkpoint.note, name=name, key=key)
        return checkpoint
    status, answer = await _post(session, url, checkpoint, 0, ())
    if status == Code.CONFLICT.status:
        old_size = _read_size(answer)
        if old_size > checkpoint.size:
            raise refuse(
                Code.BAD_SIGNATURE,
                "ledger",
                expected=f"at least the {old_size} entries that {name} saw",
                got=checkpoint.size,
            )
        path = await ledger.prove_growth(old_size, checkpoint.size) if old_size else ()
        status, answer = await _post(session, url, checkpoint, old_size, path)
    if status != 200:
        raise refuse(Code.BAD_SIGNATURE, "checkpoint", expected=f"a cosignature of {name}", got=f"{status}: {answer!r}")
    cosigned = checkpoint.note + answer
    check_cosignature(cosigned, name=name, key=key)
    await ledger.keep_cosigned(cosigned)
    return read_checkpoint(cosigned, origin=ledger.origin, key=ledger.key)


class WitnessAsked:
    """A witness of one ledger, as `cloud/ledger/eyes.py` asks it; `file` keeps the newest checkpoint that it cosigned.

    Each grew from the one before, so the newest says what all of them said.
    """

    def __init__(self, ledger: Ledger, *, url: str, name: str, key: Ed25519PublicKey, file: Path) -> None:
        self._ledger, self._url, self._name, self._key, self._file = ledger, url, name, key, file

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Have the newest checkpoint cosigned, and keep it; raise Refused, OSError."""
        cosigned = await ask_witness(self._ledger, session, self._url, name=self._name, key=self._key)
        await asyncio.to_thread(replace, self._file, cosigned.note)

    def kept_at(self) -> datetime | None:
        """Return when it was last."""
        with contextlib.suppress(FileNotFoundError):
            return datetime.fromtimestamp(self._file.stat().st_mtime, UTC)
        return None


async def _post(
    session: aiohttp.ClientSession, url: str, checkpoint: Checkpoint, old_size: int, path: tuple[bytes, ...]
) -> tuple[int, bytes]:
    lines = [f"old {old_size}", *(b64encode(node).decode() for node in path), "", ""]
    body = "\n".join(lines).encode() + checkpoint.note
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    try:
        async with session.post(f"{url}/add-checkpoint", data=body, timeout=timeout) as response:
            answer = await read_answer(response)
            if response.status < 500:
                return response.status, answer
            got: object = f"status {response.status}"
    except (aiohttp.ClientError, TimeoutError, OSError) as cause:
        raise refuse(Code.UNAVAILABLE, "witness", expected=f"an answer of {url}", got=cause) from cause
    raise refuse(Code.UNAVAILABLE, "witness", expected=f"an answer of {url}", got=got)


def _read_size(answer: bytes) -> int:
    try:
        return int(answer)
    except ValueError as cause:
        raise refuse(Code.UNAVAILABLE, "witness", expected="the size that it saw", got=answer[:80]) from cause


def _read_body(raw: bytes) -> tuple[int, tuple[bytes, ...], bytes]:
    head, _, note = raw.partition(b"\n\n")
    try:
        first, *path = head.decode().split("\n")
        if not first.startswith("old "):
            raise ValueError("another first line")
        return int(first.removeprefix("old ")), tuple(b64decode(each, validate=True) for each in path), note
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "checkpoint", expected="a C2SP add-checkpoint request", got=cause) from cause


def _answer(refused: Refused) -> web.Response:
    refusal = refused.refusal
    if refusal.code is Code.CONFLICT:  # the body is the size that this witness saw, as the protocol has it
        return web.Response(status=409, text=f"{refusal.expected}\n", content_type="text/x.tlog.size")
    return web.Response(status=refusal.code.status, text=str(refusal))

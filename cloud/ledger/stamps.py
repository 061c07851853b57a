"""A time stamp on a checkpoint (RFC 3161): a third party's word that the ledger was so at that second.

Needs the package `rfc3161-client`. The stamp is over the checkpoint's note; keep it beside the ledger's folder. Only
DER that is strict is read: a time-stamping authority that adds its certificates out of order is refused.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerificationError, VerifierBuilder
from rfc3161_client import decode_timestamp_response as decode

from broker.wire.refusals import Code, refuse
from cloud.ledger.answers import read_answer
from cloud.ledger.log import Ledger
from cloud.ledger.tiles import sync_folders, write_durably

ANSWER_S: Final = 15.0
"""How long an authority may take."""


def stamp_request(note: bytes) -> bytes:
    """Return the DER request to send: over the SHA-512 of the note, with a nonce, the certificate wanted back."""
    return (
        TimestampRequestBuilder()
        .data(note)
        .hash_algorithm(HashAlgorithm.SHA512)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
        .build()
        .as_bytes()
    )


def check_stamp(
    note: bytes, stamp: bytes, *, authority: x509.Certificate, roots: Sequence[x509.Certificate]
) -> datetime:
    """Return the second that the authority stamped on exactly this note; raise Refused (MALFORMED, BAD_SIGNATURE)."""
    try:
        response = decode(stamp)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "time stamp", expected="a strict RFC 3161 response", got=cause) from cause
    builder = VerifierBuilder().tsa_certificate(authority)
    for root in roots:
        builder = builder.add_root_certificate(root)
    try:
        builder.build().verify_message(response, note)
    except (VerificationError, ValueError) as cause:
        raise refuse(Code.BAD_SIGNATURE, "time stamp", expected="a stamp on this checkpoint", got=cause) from cause
    return response.tst_info.gen_time.astimezone(UTC)


async def ask_stamp(session: aiohttp.ClientSession, url: str, note: bytes) -> bytes:
    """Return the authority's answer, not yet checked; raise Refused (UNAVAILABLE)."""
    headers = {"Content-Type": "application/timestamp-query"}
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    try:
        async with session.post(url, data=stamp_request(note), headers=headers, timeout=timeout) as response:
            response.raise_for_status()
            return await read_answer(response)
    except (aiohttp.ClientError, TimeoutError, OSError) as cause:
        raise refuse(Code.UNAVAILABLE, "time stamp", expected=f"an answer of {url}", got=cause) from cause


def keep_stamp(folder: Path, note: bytes, stamp: bytes) -> Path:
    """Keep a stamp and the note it is on, durably, under the note's hash; return the stamp's path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(note).hexdigest()
    write_durably(folder / f"{name}.checkpoint", note)
    write_durably(folder / f"{name}.tsr", stamp)
    sync_folders({folder, folder.parent})
    return folder / f"{name}.tsr"


class StampAsked:
    """An authority that stamps one ledger's checkpoints, as `cloud/ledger/eyes.py` asks it; `folder` keeps each stamp.

    `certificates`: the authority's own first, then those above it.
    """

    def __init__(self, ledger: Ledger, *, url: str, certificates: Sequence[x509.Certificate], folder: Path) -> None:
        self._ledger, self._url, self._folder = ledger, url, folder
        self._authority, *self._roots = certificates

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Have the newest checkpoint stamped, and keep that; raise Refused (also for a stamp that does not hold)."""
        note = self._ledger.checkpoint().note
        stamp = await ask_stamp(session, self._url, note)
        await asyncio.to_thread(self._keep, note, stamp)

    def kept_at(self) -> datetime | None:
        """Return when it was last."""
        times = [each.stat().st_mtime for each in self._folder.glob("*.tsr")]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def _keep(self, note: bytes, stamp: bytes) -> None:
        check_stamp(note, stamp, authority=self._authority, roots=self._roots)
        keep_stamp(self._folder, note, stamp)

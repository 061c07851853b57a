"""One entry of the ledger: who did what to which subject, when; canonical JSON without a single personal word.

People stand in it by pseudonym, texts by commitment: SHA-256 over a salt and the text. Salt and text live elsewhere and
can be erased; the entry, and with it the tree, stays as it is.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import rfc8785

from broker.wire.refusals import Code, refuse

MAX_ENTRY_BYTES: Final = 65_535
"""C2SP tlog-tiles gives the length of an entry two bytes."""

_KIND: Final = re.compile(r"[a-z]+(?:[.-][a-z]+)*")


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`subject` is a recording, case or camera; `actor` a person's pseudonym or a service; `private` a commitment."""

    v: int
    kind: str
    at: datetime
    subject: str
    actor: str
    facts: Mapping[str, Any]
    private: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What opens a commitment. Keep it where it can be erased, never beside the entry."""

    salt: bytes = field(repr=False)
    text: str = field(repr=False)

    @property
    def commitment(self) -> str:
        """The 64 hexadecimal digits that stand in the entry."""
        return hashlib.sha256(self.salt + self.text.encode()).hexdigest()

    def opens(self, entry: LedgerEntry) -> bool:
        """Whether this is the text that the entry committed to."""
        return entry.private is not None and hmac.compare_digest(self.commitment, entry.private)


def write_entry(
    kind: str, *, subject: str, actor: str, at: datetime, facts: Mapping[str, Any], private: Opening | None = None
) -> bytes:
    """Return the entry's bytes; raise ValueError when it is not of the form that the ledger takes."""
    if not _KIND.fullmatch(kind):
        raise ValueError(f"ledger entry: expected a kind such as hold.placed, got {kind!r}")
    if at.tzinfo is None:
        raise ValueError(f"ledger entry: expected a time with its zone, got {at!r}")
    entry = LedgerEntry(
        v=1,
        kind=kind,
        at=at.astimezone(UTC),
        subject=subject,
        actor=actor,
        facts=dict(facts),
        private=private.commitment if private else None,
    )
    raw = rfc8785.dumps(msgspec.to_builtins(entry))
    if len(raw) > MAX_ENTRY_BYTES:
        raise ValueError(f"ledger entry: expected at most {MAX_ENTRY_BYTES} bytes, got {len(raw)}")
    return raw


def read_entry(raw: bytes) -> LedgerEntry:
    """Return what these bytes say; raise Refused (MALFORMED). That they stand in the ledger is for a proof to show."""
    try:
        entry = msgspec.json.decode(raw, type=LedgerEntry)
        again = rfc8785.dumps(msgspec.to_builtins(entry))
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "ledger entry", expected="an entry of version 1", got=cause) from cause
    if again != raw or entry.v != 1 or entry.at.tzinfo is None:
        raise refuse(Code.MALFORMED, "ledger entry", expected="canonical JSON of version 1", got="another spelling")
    return entry

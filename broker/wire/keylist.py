"""To whom a camera seals: the Kluis's signed list of intake keys, one per week.

A camera seals each recording to the key of the week in which it is pressed. The Kluis destroys a week's key some time
after that week: from then on no copy of a recording's head opens anything, wherever it lies. The list holds the coming
weeks too, so that a camera that has not docked for a while still seals to a key that lives. A camera that has outlived
its whole list goes on with the last key it has: it is better to have footage that needs an explanation than none.
"""

from datetime import datetime
from typing import Final

import msgspec
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.ids import Org
from broker.wire.recording import Recipient
from broker.wire.refusals import Code, refuse

MAX_KEYLIST_BYTES: Final = 262_144
"""Longer than any list can be (52 weeks of three X-Wing keys); a reader need not read further."""

_LABEL: Final = b"vier-ogen/keylist/v1\0"


class Epoch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One week's intake keys. `epoch` counts weeks since 1970; a press in [valid_from, valid_until) seals to these."""

    epoch: int
    recipients: tuple[Recipient, ...]
    valid_from: datetime
    valid_until: datetime


class KeyList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of the week in which the list was issued, and of the coming weeks in order."""

    org: str
    epoch: int
    recipients: tuple[Recipient, ...]
    valid_from: datetime
    valid_until: datetime
    upcoming: tuple[Epoch, ...] = ()
    issued_at: datetime

    @property
    def municipality(self) -> Org:
        """The municipality whose cameras seal to these keys."""
        return Org(self.org)

    def epoch_at(self, now: datetime) -> Epoch:
        """Return the keys to seal to at `now`; outside the list's weeks, the nearest it has (see above why)."""
        first = Epoch(
            epoch=self.epoch, recipients=self.recipients, valid_from=self.valid_from, valid_until=self.valid_until
        )
        weeks = (first, *self.upcoming)
        return next((week for week in weeks if now < week.valid_until), weeks[-1])

    def recipients_at(self, now: datetime) -> tuple[Recipient, ...]:
        """Return the parties to seal a recording to that starts at `now`."""
        return self.epoch_at(now).recipients


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keylist: msgspec.Raw
    signature: bytes


def _canonical(keylist: KeyList) -> bytes:
    return rfc8785.dumps(msgspec.to_builtins(keylist))


def sign_keylist(keylist: KeyList, key: Ed25519PrivateKey) -> bytes:
    """Return the list as docks hand it to cameras."""
    body = _canonical(keylist)
    return msgspec.json.encode(_Signed(keylist=msgspec.Raw(body), signature=key.sign(_LABEL + body)))


def read_keylist(raw: bytes, kluis_key: Ed25519PublicKey) -> KeyList:
    """Return the list if this Kluis signed exactly it; raise Refused (MALFORMED, TOO_LARGE, BAD_SIGNATURE)."""
    if len(raw) > MAX_KEYLIST_BYTES:
        raise refuse(Code.TOO_LARGE, "key list", expected=f"at most {MAX_KEYLIST_BYTES} bytes", got=len(raw))
    try:
        signed = msgspec.json.decode(raw, type=_Signed)
        kluis_key.verify(signed.signature, _LABEL + bytes(signed.keylist))
        keylist = msgspec.json.decode(signed.keylist, type=KeyList)
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "key list", expected="a signed key list", got=cause) from cause
    except InvalidSignature as cause:
        raise refuse(Code.BAD_SIGNATURE, "key list", expected="the Kluis's signature", got="another") from cause
    if _canonical(keylist) != bytes(signed.keylist):
        raise refuse(Code.MALFORMED, "key list", expected="canonical JSON", got="another spelling")
    _check_weeks(keylist)
    return keylist


def _check_weeks(keylist: KeyList) -> None:
    ends = [keylist.valid_until, *(week.valid_until for week in keylist.upcoming)]
    starts = [keylist.valid_from, *(week.valid_from for week in keylist.upcoming)]
    if any(moment.tzinfo is None for moment in (*starts, *ends, keylist.issued_at)):
        raise refuse(Code.MALFORMED, "key list", expected="times with their zone", got="a naive time")
    if any(end <= start for start, end in zip(starts, ends, strict=True)) or starts[1:] != ends[:-1]:
        raise refuse(Code.MALFORMED, "key list", expected="weeks that follow each other", got="a gap or an overlap")
    for recipients in (keylist.recipients, *(week.recipients for week in keylist.upcoming)):
        if not 1 <= len(recipients) <= 3:
            raise refuse(Code.MALFORMED, "key list", expected="one to three parties", got=len(recipients))
        for party in recipients:
            if len(party.key_id) != 16 or len(party.public_key) != 1216:
                raise refuse(
                    Code.MALFORMED,
                    "key list",
                    expected="a key id of 16 bytes and an X-Wing key of 1216",
                    got=f"{len(party.key_id)} and {len(party.public_key)}",
                )

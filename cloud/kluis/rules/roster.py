"""Who may act towards the Kluis: its own list of officials, their roles, periods and keys, signed by itself.

The list is the Kluis's alone: what the desk or its database says about people counts for nothing here. It changes by
two officials who are on it, never by one, and nobody gives himself a role.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.refusals import Code, refuse
from broker.wire.statements import Credential, Kind
from cloud.rules.seats import Person

_LABEL = b"vier-ogen/kluis-document/v1\0"


class Appointment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One role in a period; `until_at` None means until further notice."""

    role: str
    from_at: datetime
    until_at: datetime | None = None


class Substitution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One role held for an absent other in a period."""

    role: str
    replaced: str
    from_at: datetime
    until_at: datetime


class EnrolledKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that an official holds: DER SubjectPublicKeyInfo."""

    id: str
    kind: Kind
    public_key: bytes


class Official(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account. `person` is the same for all accounts of one human being (the account's id when not given)."""

    id: str
    person: str = ""
    department: str | None = None
    employed_from: datetime
    employed_until: datetime | None = None
    appointments: tuple[Appointment, ...] = ()
    substitutions: tuple[Substitution, ...] = ()
    credentials: tuple[EnrolledKey, ...] = ()

    @property
    def human(self) -> str:
        """Whose account this is."""
        return self.person or self.id

    def keys(self) -> tuple[Credential, ...]:
        """The keys enrolled for this account."""
        return tuple(Credential(id=key.id, kind=key.kind, public_key=key.public_key) for key in self.credentials)

    def at(self, now: datetime) -> Person:
        """Return the rights this account has at one moment."""
        return Person(
            id=self.id,
            roles=frozenset(each.role for each in self.appointments if _runs(each.from_at, each.until_at, now)),
            substitutes={
                each.role: each.replaced for each in self.substitutions if _runs(each.from_at, each.until_at, now)
            },
            employed=_runs(self.employed_from, self.employed_until, now),
            department=self.department,
        )


class Roster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All officials of one municipality. `version` counts up by one with each change."""

    org: str
    version: int
    officials: tuple[Official, ...]

    def find(self, official: str) -> Official:
        """Return the account; raise Refused (UNKNOWN_IDENTITY)."""
        for each in self.officials:
            if each.id == official:
                return each
        raise refuse(Code.UNKNOWN_IDENTITY, "official", expected="somebody on the Kluis's own roster", got=official)


def _runs(start: datetime, end: datetime | None, now: datetime) -> bool:
    return start <= now and (end is None or now < end)


def plain_roster(org: str, officials: Sequence[Official | Mapping[str, Any]]) -> Roster:
    """Return the first roster from plain records (times as datetime or ISO text, keys as bytes or base64)."""
    try:
        roster = Roster(
            org=org,
            version=1,
            officials=tuple(
                each if isinstance(each, Official) else msgspec.convert(each, Official, strict=False)
                for each in officials
            ),
        )
    except msgspec.ValidationError as cause:
        raise refuse(Code.MALFORMED, "roster", expected="officials as documented", got=cause) from cause
    check_roster(roster)
    return roster


def check_roster(roster: Roster) -> None:
    """Raise Refused (MALFORMED) when the roster says something that cannot be: one key, two people, for instance."""
    ids = [official.id for official in roster.officials]
    if len(set(ids)) < len(ids):
        raise refuse(Code.MALFORMED, "roster", expected="each official once", got=sorted(ids))
    for official in roster.officials:
        times = [official.employed_from, official.employed_until]
        times += [moment for each in official.appointments for moment in (each.from_at, each.until_at)]
        times += [moment for each in official.substitutions for moment in (each.from_at, each.until_at)]
        if any(moment is not None and moment.tzinfo is None for moment in times):
            raise refuse(Code.MALFORMED, "roster", expected="times with their zone", got=f"a naive one, {official.id}")
        if any(each.replaced == official.id for each in official.substitutions):
            raise refuse(Code.MALFORMED, "roster", expected="a substitute for somebody else", got=official.id)
    held: dict[bytes, str] = {}
    for official in roster.officials:
        for key in official.credentials:
            if held.setdefault(key.public_key, official.human) != official.human:
                raise refuse(Code.MALFORMED, "roster", expected="a key of one person", got=f"also {official.id}'s")


def check_change(old: Roster, new: Roster, signers: Sequence[Official]) -> None:
    """Raise Refused (NOT_ALLOWED, CONFLICT) unless these officials of the old roster may sign this new one."""
    check_roster(new)
    if (new.org, new.version) != (old.org, old.version + 1):
        raise refuse(
            Code.CONFLICT,
            "roster",
            expected=f"version {old.version + 1} of {old.org}",
            got=f"version {new.version} of {new.org}",
        )
    for signer in signers:
        after = next((each for each in new.officials if each.id == signer.id), None)
        gained = set(after.appointments) | set(after.substitutions) if after else set()
        if gained - set(signer.appointments) - set(signer.substitutions):
            raise refuse(
                Code.NOT_ALLOWED, "roster", expected="nobody appoints himself", got=f"{signer.id} gains a role"
            )


def amended(roster: Roster, *officials: Official) -> Roster:
    """Return the next version of the roster, with these accounts instead of what it said of them, or added."""
    ids = {each.id for each in officials}
    kept = tuple(each for each in roster.officials if each.id not in ids)
    return Roster(org=roster.org, version=roster.version + 1, officials=(*kept, *officials))


class _Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    document: bytes
    signature: bytes


def sign_document(document: bytes, key: Ed25519PrivateKey, *, kind: str) -> bytes:
    """Return a document of the Kluis (`roster` or `policy`) under its own signature."""
    return msgspec.json.encode(
        _Signed(document=document, signature=key.sign(_LABEL + kind.encode() + b"\0" + document))
    )


def read_document(raw: bytes, key: Ed25519PublicKey, *, kind: str) -> bytes:
    """Return the document if this Kluis signed it as this kind; raise Refused (MALFORMED, BAD_SIGNATURE)."""
    try:
        signed = msgspec.json.decode(raw, type=_Signed)
        key.verify(signed.signature, _LABEL + kind.encode() + b"\0" + signed.document)
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, kind, expected="a signed document", got=cause) from cause
    except InvalidSignature as cause:
        raise refuse(Code.BAD_SIGNATURE, kind, expected="the Kluis's signature", got="another") from cause
    return signed.document


def write_roster(roster: Roster) -> bytes:
    """Return the roster as canonical JSON (RFC 8785): what officials sign under a change."""
    return rfc8785.dumps(msgspec.to_builtins(roster))


def read_roster(document: bytes) -> Roster:
    """Return the roster these bytes say; raise Refused (MALFORMED)."""
    try:
        roster = msgspec.json.decode(document, type=Roster)
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "roster", expected="a roster as documented", got=cause) from cause
    if write_roster(roster) != document:
        raise refuse(Code.MALFORMED, "roster", expected="canonical JSON", got="another spelling")
    return roster

"""Who may come in by the municipality's own sign-in, and as what: the settings, and what the provider's word is worth.

The provider says who somebody is. What somebody is appointed to stands in the register; a group can take a role away
from a session, never give one that the register does not know. The Kluis asks neither: it has a list of its own.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from cloud.rules.verdicts import Verdict, allow, deny

SIGNATURES: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "Ed25519"})
"""What an ID token may be signed with: the provider's private key, never a secret that we hold as well."""

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class OpenId(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The municipality's OpenID provider (authorization code flow with PKCE).

    `official_claim` names the claim that holds the pseudonym of the register of officials. `groups` says which roles a
    group allows; empty: every role of the register. A claim's name may be a path (``realm_access.roles``). Of `acr` and
    `amr` one value must be in the token: that is how a second factor shows. `secret_file` or `key_file` (PEM, for
    ``private_key_jwt``) and `ca_file` lie beside the settings.
    """

    issuer: str
    client_id: str
    official_claim: str
    secret_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    scopes: tuple[str, ...] = ("openid",)
    groups_claim: str = ""
    groups: dict[str, tuple[str, ...]] = {}
    acr: tuple[str, ...] = ()
    amr: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("RS256",)


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How people sign in, and for how long.

    A session ends after `idle_minutes` without an open page, and after `absolute_hours` whatever happens: longer than a
    shift, shorter than a day. With `open_id`, a security key alone lets in only the accounts in `break_glass`.
    """

    idle_minutes: int = 30
    absolute_hours: int = 10
    break_glass: tuple[str, ...] = ()
    open_id: OpenId | None = None


def problem_with(settings: SignIn, *, mode: str) -> str | None:
    """Return what is wrong with these settings and what to do, in a sentence, or None."""
    if not 1 <= settings.idle_minutes <= 24 * 60:
        return f"idle_minutes: expected 1 to 1440, got {settings.idle_minutes}"
    if not 1 <= settings.absolute_hours <= 24:
        return f"absolute_hours: expected 1 to 24, got {settings.absolute_hours}"
    given = settings.open_id
    if given is None:
        return None
    if mode != "standard":
        return "open_id: in demonstration mode people are chosen from a list; remove it, or set mode to standard"
    if not is_safe(given.issuer):
        return f"issuer: expected an https address, got {given.issuer}"
    if bool(given.secret_file) == bool(given.key_file):
        return "open_id: expected either secret_file or key_file, never both"
    if not given.acr and not given.amr:
        return "open_id: expected acr or amr values that show a second factor, got none"
    if not given.algorithms or not SIGNATURES.issuperset(given.algorithms):
        return f"algorithms: expected some of {', '.join(sorted(SIGNATURES))}, got {', '.join(given.algorithms)}"
    if "openid" not in given.scopes:
        return "scopes: expected openid among them"
    if bool(given.groups) != bool(given.groups_claim):
        return "groups: expected groups_claim and groups together"
    return None


def is_safe(address: str) -> bool:
    """Say whether secrets may be sent there: by https, or within this machine."""
    parts = urlsplit(address)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


def judge_party(claims: Mapping[str, Any], *, client_id: str) -> Verdict:
    """Judge for whom a token was made, beyond its audience: others may be in it, it was handed to us (core 3.1.3.7)."""
    party, audience = claims.get("azp"), claims.get("aud")
    several = isinstance(audience, list) and len(audience) > 1
    if (several and party is None) or (party is not None and party != client_id):
        return deny(
            "the provider's answer was made for another application",
            "het antwoord van de gemeente was voor een andere toepassing",
        )
    return allow("made for us", "voor ons gemaakt")


def judge_strength(claims: Mapping[str, Any], settings: OpenId) -> Verdict:
    """Judge whether somebody signed in with a second factor."""
    how = claims.get("amr")
    methods = {each for each in how if isinstance(each, str)} if isinstance(how, list) else set()
    if claims.get("acr") in settings.acr or methods & set(settings.amr):
        return allow("signed in with a second factor", "aangemeld met een tweede factor")
    return deny(
        "signed in without a second factor; sign in with it at the municipality",
        "u bent bij de gemeente aangemeld zonder tweede factor; meld u daar aan met uw tweede factor",
    )


def official_in(claims: Mapping[str, Any], settings: OpenId) -> str | None:
    """Return the pseudonym that the token names, or None."""
    named = _claim(claims, settings.official_claim)
    return named if isinstance(named, str) and 0 < len(named) <= 40 else None


def granted(claims: Mapping[str, Any], settings: OpenId) -> frozenset[str] | None:
    """Return the roles that somebody's groups allow in this session; None: groups are not asked."""
    if not settings.groups:
        return None
    said = _claim(claims, settings.groups_claim)
    groups = {said} if isinstance(said, str) else {each for each in said or () if isinstance(each, str)}
    return frozenset(role for group in groups for role in settings.groups.get(group, ()))


def held_now(
    roles: AbstractSet[str], *, standing_in: AbstractSet[str], allowed: AbstractSet[str] | None
) -> frozenset[str]:
    """Return which roles of the register count in a session. A role held for somebody absent was given for a while, by
    name: the provider's groups do not know of it.
    """
    return frozenset(roles) if allowed is None else frozenset(roles & (allowed | standing_in))


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return the claim of this name; else where its dots lead; else None."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for step in name.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found

"""Signing in by the municipality's OpenID provider: authorization code, PKCE S256, one ID token by the back channel.

OpenID Connect Core 1.0 section 3.1, RFC 7636, RFC 9207 (the answer names its issuer), RP-Initiated Logout 1.0, and the
Dutch profile OIDC-NLGOV. JOSE is joserfc's. Nothing else is asked of the provider: no user info, no refresh token; the
access token is thrown away. What it says about roles opens no seat: those stand in the register, and on the Kluis's own
list, which no provider reaches.
"""

import contextlib
import hashlib
import secrets
import ssl
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import Key, KeySet, import_key

from broker.clock import Clock
from cloud.desk.rules.sign_in import OpenId, is_safe, judge_party
from cloud.rules.verdicts import Verdict, deny

BEGUN_LIVES_S: Final = 600.0
"""How long somebody may take at the provider."""

MOST_BEGUN: Final = 10_000
"""Open sign-ins at once; beyond it the oldest is forgotten, and its person tries again."""

LEEWAY_S: Final = 60
"""How much the provider's clock may differ."""

ANSWERS_WITHIN: Final = aiohttp.ClientTimeout(total=6, connect=3)
MOST_BYTES: Final = 1_048_576
KEY_KINDS: Final = frozenset({"RSA", "EC", "OKP"})
BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class NotSignedIn(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """The provider's answer lets nobody in; the verdict says why, in two languages."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.because)
        self.verdict = verdict


class ProviderAway(Exception):  # noqa: N818 - it will be back
    """The provider does not answer, or not as a provider does; the message is for the administrator."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What we use of the provider's own description (Discovery 1.0 section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str = ""
    authorization_response_iss_parameter_supported: bool = False


class _KeyList(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Tokens(msgspec.Struct, frozen=True, kw_only=True):
    id_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A sign-in that is under way at the provider; `browser` is what only the browser that began it knows."""

    browser: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Who came back: the token's claims, checked, and the token itself, with which to sign out."""

    claims: Mapping[str, Any]
    id_token: str = field(repr=False)


class OpenIdProvider:
    """One municipality's provider, and the sign-ins under way there. Close it after use."""

    def __init__(
        self,
        settings: OpenId,
        *,
        origin: str,
        secret: str = "",
        key: Key | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Clock,
    ) -> None:
        """`clock` is real time, as the provider's is. `secret` or `key` (``private_key_jwt``) proves who we are."""
        if bool(secret) == (key is not None):
            raise ValueError("open_id: expected either a secret or a key")
        self.settings = settings
        self.back = f"{origin}/aanmelden/terug"
        self.after = f"{origin}/aanmelden"
        self._secret, self._key, self._tls, self._clock = secret, key, tls, clock
        self._begun: dict[str, Begun] = {}
        self._metadata: Metadata | None = None
        self._keys: KeySet | None = None
        self._http: aiohttp.ClientSession | None = None

    async def begin(self, *, browser: str, now_s: float) -> str:
        """Return the address at the provider to send this browser to; raise ProviderAway.

        The provider is asked for its description each time: a browser is not sent to somebody who is not there.
        """
        provider = await self.look()
        verifier, state, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        while len(self._begun) >= MOST_BEGUN:
            del self._begun[next(iter(self._begun))]
        self._begun[state] = Begun(browser=browser, nonce=nonce, verifier=verifier, at_s=now_s)
        asked = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self.back,
            "scope": " ".join(self.settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": _base64url(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        if self.settings.acr:
            asked["acr_values"] = " ".join(self.settings.acr)
        return _with(provider.authorization_endpoint, asked)

    async def finish(self, answer: Mapping[str, str], *, browser: str, now_s: float) -> Arrived:
        """Return who came back with this answer; raise NotSignedIn or ProviderAway. An answer works once."""
        begun = self._begun.pop(answer.get("state", ""), None)
        if begun is None or not secrets.compare_digest(begun.browser.encode(), browser.encode()):
            raise NotSignedIn(_NOT_BEGUN_HERE)
        if now_s - begun.at_s > BEGUN_LIVES_S:
            raise NotSignedIn(_TOO_LATE)
        provider = self._metadata or await self.look()
        named = answer.get("iss")
        if named != provider.issuer and (named or provider.authorization_response_iss_parameter_supported):
            raise NotSignedIn(_ANOTHER_PROVIDER)
        if "error" in answer or not answer.get("code"):
            raise NotSignedIn(_BROKEN_OFF)
        id_token = await self._exchange(provider, answer["code"], begun.verifier)
        return Arrived(claims=await self._read(provider, id_token, begun.nonce), id_token=id_token)

    async def leave(self, id_token: str) -> str | None:
        """Return where a browser signs out at the provider as well, or None when it has no such place."""
        try:
            provider = self._metadata or await self.look()
        except ProviderAway:
            return None
        if not provider.end_session_endpoint:
            return None
        asked = {
            "id_token_hint": id_token,
            "client_id": self.settings.client_id,
            "post_logout_redirect_uri": self.after,
        }
        return _with(provider.end_session_endpoint, asked)

    async def look(self) -> Metadata:
        """Return the provider's description as it is now; raise ProviderAway."""
        address = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            said = msgspec.json.decode(await self._ask("GET", address), type=Metadata)
        except msgspec.DecodeError as cause:
            raise ProviderAway(f"{address}: expected an OpenID provider's description: {cause}") from cause
        if said.issuer != self.settings.issuer:
            raise ProviderAway(f"{address}: expected issuer {self.settings.issuer}, got {said.issuer}")
        for each in (said.authorization_endpoint, said.token_endpoint, said.jwks_uri, said.end_session_endpoint):
            if each and not is_safe(each):
                raise ProviderAway(f"{address}: expected https addresses, got {each}")
        self._metadata = said
        return said

    async def close(self) -> None:
        """Let go of connections."""
        if self._http is not None:
            await self._http.close()

    async def _exchange(self, provider: Metadata, code: str, verifier: str) -> str:
        """Return the ID token for this code; raise NotSignedIn (the provider refuses the code) or ProviderAway."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.back,
            "code_verifier": verifier,
        }
        headers = {}
        if self._key is not None:
            fields |= {"client_assertion_type": BEARER, "client_assertion": self._assertion(self._key, provider)}
        else:  # RFC 6749 2.3.1: each half form-encoded before it becomes a user and a password
            name, secret = quote(self.settings.client_id, safe=""), quote(self._secret, safe="")
            headers["Authorization"] = aiohttp.encode_basic_auth(name, secret)
        raw = await self._ask("POST", provider.token_endpoint, data=fields, headers=headers)
        try:
            return msgspec.json.decode(raw, type=_Tokens).id_token
        except msgspec.DecodeError as cause:
            raise NotSignedIn(_NO_TOKEN) from cause

    def _assertion(self, key: Key, provider: Metadata) -> str:
        """Return the proof that we are this client (RFC 7523; NL GOV: ``private_key_jwt``), good for a minute."""
        now = int(self._clock().timestamp())
        claims = {
            "iss": self.settings.client_id,
            "sub": self.settings.client_id,
            "aud": provider.issuer,
            "jti": secrets.token_urlsafe(24),
            "iat": now,
            "exp": now + 60,
        }
        algorithm = {"RSA": "PS256", "EC": "ES256", "OKP": "Ed25519"}[key.key_type]
        return jwt.encode({"alg": algorithm, "kid": key.thumbprint()}, claims, key, algorithms=[algorithm])

    async def _read(self, provider: Metadata, id_token: str, nonce: str) -> Mapping[str, Any]:
        """Return the claims of a token that is genuine, of this provider, for us, of now, and of this very sign-in."""
        claims = await self._verified(provider, id_token)
        checks = jwt.JWTClaimsRegistry(
            now=int(self._clock().timestamp()),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": provider.issuer},
            aud={"essential": True, "value": self.settings.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            checks.validate(claims)
        except JoseError as cause:
            raise NotSignedIn(_bad_token(cause.description or cause.error)) from cause
        party = judge_party(claims, client_id=self.settings.client_id)
        if not party:
            raise NotSignedIn(party)
        return claims

    async def _verified(self, provider: Metadata, id_token: str) -> dict[str, Any]:
        """Check the signature. A key that we do not know is looked for once more: providers change their keys."""
        keys, fresh = self._keys, False
        while True:
            if keys is None:
                keys, fresh = await self._fetch_keys(provider), True
            try:
                return jwt.decode(id_token, keys, algorithms=self.settings.algorithms).claims
            except InvalidKeyIdError as cause:
                if fresh:
                    raise NotSignedIn(_bad_token("signed with an unknown key")) from cause
                keys = None
            except (JoseError, ValueError) as cause:
                raise NotSignedIn(_bad_token(str(cause))) from cause

    async def _fetch_keys(self, provider: Metadata) -> KeySet:
        """Return the provider's keys as they are now; those of a kind that we do not know are left out."""
        try:
            listed = msgspec.json.decode(await self._ask("GET", provider.jwks_uri), type=_KeyList).keys
        except msgspec.DecodeError as cause:
            raise ProviderAway(f"{provider.jwks_uri}: expected a set of keys: {cause}") from cause
        found: list[Key] = []
        for each in listed:
            if each.get("kty") in KEY_KINDS and each.get("use", "sig") == "sig":
                with contextlib.suppress(JoseError, ValueError):
                    found.append(import_key(each))
        self._keys = KeySet(found)
        return self._keys

    async def _ask(self, method: str, address: str, **what: Any) -> bytes:
        """Return what the provider answers; raise ProviderAway, or NotSignedIn when it says that we asked wrongly."""
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=ANSWERS_WITHIN)
        raw = b""
        try:
            async with self._http.request(
                method, address, ssl=self._tls or True, allow_redirects=False, **what
            ) as answer:
                async for piece in answer.content.iter_chunked(65_536):
                    raw += piece
                    if len(raw) > MOST_BYTES:
                        raise ProviderAway(f"{address}: expected at most {MOST_BYTES} bytes, got more")
        except (aiohttp.ClientError, TimeoutError, OSError) as cause:
            raise ProviderAway(f"{address}: no answer ({type(cause).__name__} {cause})") from cause
        if method == "POST" and answer.status == 400:
            raise NotSignedIn(_NO_TOKEN)
        if answer.status != 200:
            raise ProviderAway(f"{address}: expected 200, got {answer.status}")
        return raw


def open_provider(settings: OpenId, *, folder: Path, origin: str, clock: Clock) -> OpenIdProvider:
    """Return the provider of these settings, with the secret, key and authority that lie in `folder`.

    Raise ValueError saying which file cannot be used. Blocks, shortly.
    """
    try:
        return OpenIdProvider(
            settings,
            origin=origin,
            secret=(folder / settings.secret_file).read_text().strip() if settings.secret_file else "",
            key=_key_in((folder / settings.key_file).read_bytes()) if settings.key_file else None,
            tls=ssl.create_default_context(cafile=folder / settings.ca_file) if settings.ca_file else None,
            clock=clock,
        )
    except (OSError, JoseError, ValueError) as cause:  # an SSLError is an OSError
        raise ValueError(f"open_id: expected its secret or key, and authority, in {folder}: {cause}") from cause


def _key_in(pem: bytes) -> Key:
    """Return the private key of this file: RSA, P-256 or Ed25519; raise ValueError."""
    match load_pem_private_key(pem, None):
        case rsa.RSAPrivateKey():
            return import_key(pem, "RSA")
        case ec.EllipticCurvePrivateKey(curve=ec.SECP256R1()):
            return import_key(pem, "EC")
        case ed25519.Ed25519PrivateKey():
            return import_key(pem, "OKP")
        case other:
            raise ValueError(f"expected a key of kind RSA, P-256 or Ed25519, got {type(other).__name__}")


def _with(address: str, asked: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bad_token(why: str) -> Verdict:
    return deny(
        f"the provider's word is not accepted: {why}",
        f"het antwoord van de aanmelding van de gemeente klopt niet ({why})",
    )


_NOT_BEGUN_HERE: Final = deny(
    "this answer belongs to no sign-in that began in this browser, or was used before",
    "dit antwoord hoort niet bij een aanmelding die in deze browser begon, of is al gebruikt",
)
_TOO_LATE: Final = deny("signing in took too long", "het aanmelden duurde te lang")
_ANOTHER_PROVIDER: Final = deny("the answer is of another provider", "het antwoord komt van een andere aanmelding")
_BROKEN_OFF: Final = deny(
    "signing in was broken off at the municipality", "het aanmelden is bij de gemeente afgebroken"
)
_NO_TOKEN: Final = deny(
    "the provider did not accept this sign-in; begin again", "de gemeente nam deze aanmelding niet aan; begin opnieuw"
)

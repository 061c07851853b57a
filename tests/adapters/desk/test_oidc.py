"""What an OpenID provider may and may not make us believe: a provider of our own, that lies in one way at a time."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from cloud.desk.oidc import (
    BEGUN_LIVES_S,
    MOST_BEGUN,
    NotSignedIn,
    OpenIdProvider,
    ProviderAway,
    _base64url,
    open_provider,
)
from cloud.desk.rules.sign_in import OpenId

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
ORIGIN = "https://desk.example"
RSA = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}, private=True)
NEXT = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"}, private=True)


@dataclass(kw_only=True)
class Liar:
    """A provider whose every word a test can change."""

    issuer: str = ""
    key: Any = field(default_factory=lambda: RSA)
    algorithm: str = "RS256"
    public: list[dict[str, Any]] = field(default_factory=lambda: [RSA.as_dict(private=False)])
    description: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    refuses: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    proofs: list[str] = field(default_factory=list)
    nonce: str = ""
    key_reads: int = 0

    async def describe(self, _: web.Request) -> web.Response:
        said = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "authorization_response_iss_parameter_supported": True,
        }
        return web.json_response(said | self.description)

    async def jwks(self, _: web.Request) -> web.Response:
        self.key_reads += 1
        return web.json_response({"keys": self.public})

    async def token(self, request: web.Request) -> web.Response:
        self.asked.append({name: str(value) for name, value in (await request.post()).items()})
        self.proofs.append(request.headers.get("Authorization", ""))
        if self.refuses:
            return web.json_response({"error": "invalid_grant"}, status=self.refuses)
        said = {
            "iss": self.issuer,
            "aud": "vier-ogen",
            "sub": "s",
            "iat": NOW_S,
            "exp": NOW_S + 300,
            "nonce": self.nonce,
        }
        claims = {name: value for name, value in (said | self.claims).items() if name not in self.without}
        header = {"alg": self.algorithm, "kid": self.key.kid or "one"}
        return web.json_response({"id_token": jwt.encode(header, claims, self.key, algorithms=[self.algorithm])})


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    made = Liar()
    app = web.Application()
    app.add_routes(
        [
            web.get("/.well-known/openid-configuration", made.describe),
            web.get("/jwks", made.jwks),
            web.post("/token", made.token),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def settings(liar: Liar) -> OpenId:
    return OpenId(issuer=liar.issuer, client_id="vier-ogen", official_claim="employee", secret_file="s", acr=("two",))


@pytest.fixture
async def provider(liar: Liar) -> AsyncIterator[OpenIdProvider]:
    made = OpenIdProvider(settings(liar), origin=ORIGIN, secret="geheim & lang", clock=lambda: NOW)
    yield made
    await made.close()


async def begin(provider: OpenIdProvider, liar: Liar, *, now_s: float = 0.0) -> str:
    """Begin in the browser called `mine`; return the state."""
    asked = parse_qs(urlsplit(await provider.begin(browser="mine", now_s=now_s)).query)
    liar.nonce = asked["nonce"][0]
    return asked["state"][0]


async def come_back(provider: OpenIdProvider, liar: Liar, **changed: str) -> dict[str, Any]:
    state = await begin(provider, liar)
    answer = {"state": state, "code": "c", "iss": liar.issuer} | changed
    return dict((await provider.finish(answer, browser="mine", now_s=1.0)).claims)


async def test_a_genuine_answer_is_believed_and_the_code_goes_with_its_verifier(
    liar: Liar, provider: OpenIdProvider
) -> None:
    assert (await come_back(provider, liar))["sub"] == "s"
    (asked,) = liar.asked
    assert (asked["grant_type"], asked["redirect_uri"]) == ("authorization_code", f"{ORIGIN}/aanmelden/terug")
    assert len(asked["code_verifier"]) >= 43
    assert b64decode(liar.proofs[0].removeprefix("Basic ")) == b"vier-ogen:geheim%20%26%20lang"


@pytest.mark.parametrize(
    ("claims", "without"),
    [
        ({"iss": "https://elders.example"}, ()),
        ({"aud": "another"}, ()),
        ({"aud": ["vier-ogen", "another"]}, ()),  # for whom it was made is not said
        ({"aud": ["vier-ogen", "another"], "azp": "another"}, ()),
        ({"azp": "another"}, ()),
        ({"exp": NOW_S - 61}, ()),
        ({"iat": NOW_S + 61}, ()),
        ({"nbf": NOW_S + 61}, ()),
        ({"exp": "later"}, ()),
        ({"nonce": "another"}, ()),
        *(({}, (name,)) for name in ("iss", "aud", "sub", "exp", "iat", "nonce")),
    ],
)
async def test_a_token_of_another_place_time_person_or_sign_in_lets_nobody_in(
    liar: Liar, provider: OpenIdProvider, claims: dict[str, Any], without: tuple[str, ...]
) -> None:
    liar.claims, liar.without = claims, without
    with pytest.raises(NotSignedIn):
        await come_back(provider, liar)


async def test_a_token_that_several_may_read_but_was_made_for_us_is_good(liar: Liar, provider: OpenIdProvider) -> None:
    liar.claims = {"aud": ["vier-ogen", "another"], "azp": "vier-ogen"}
    assert (await come_back(provider, liar))["azp"] == "vier-ogen"


async def test_only_the_pinned_signature_of_a_key_of_the_provider_counts(liar: Liar, provider: OpenIdProvider) -> None:
    secret = OctKey.import_key("geheim & lang, ook voor de handtekening", {"kid": "one"})
    stranger = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
    curve = ECKey.generate_key("P-256", {"kid": "three"}, private=True)
    liar.public.append(curve.as_dict(private=False))
    for key, algorithm in ((secret, "HS256"), (stranger, "RS256"), (RSA, "PS256"), (curve, "ES256")):
        liar.key, liar.algorithm = key, algorithm
        with pytest.raises(NotSignedIn):
            await come_back(provider, liar)


async def test_a_token_without_a_signature_is_nothing(liar: Liar, provider: OpenIdProvider) -> None:
    await begin(provider, liar)
    metadata = await provider.look()
    head, body = (
        msgspec.json.encode(part)
        for part in (
            {"alg": "none"},
            {"iss": liar.issuer, "aud": "vier-ogen", "sub": "s", "exp": NOW_S + 9, "iat": NOW_S, "nonce": liar.nonce},
        )
    )
    with pytest.raises(NotSignedIn):
        await provider._read(metadata, f"{_base64url(head)}.{_base64url(body)}.", liar.nonce)


async def test_when_the_provider_changes_its_key_the_new_one_is_looked_up_once(
    liar: Liar, provider: OpenIdProvider
) -> None:
    await come_back(provider, liar)
    await come_back(provider, liar)
    assert liar.key_reads == 1
    liar.key, liar.public = NEXT, [{"kty": "?", "kid": "new"}, NEXT.as_dict(private=False)]
    await come_back(provider, liar)
    assert liar.key_reads == 2
    liar.key = RSA  # and the old one counts no more
    with pytest.raises(NotSignedIn):
        await come_back(provider, liar)
    assert liar.key_reads == 3


async def test_an_answer_belongs_to_one_sign_in_of_one_browser_and_for_ten_minutes(
    liar: Liar, provider: OpenIdProvider
) -> None:
    async def refused(state: str, browser: str, now_s: float, **answer: str) -> None:
        with pytest.raises(NotSignedIn):
            await provider.finish(
                {"state": state, "code": "c", "iss": liar.issuer} | answer, browser=browser, now_s=now_s
            )

    state = await begin(provider, liar)
    await refused("another", "mine", 1.0)
    await refused(state, "another", 1.0)
    await refused(state, "mine", 1.0)  # used up
    await refused(await begin(provider, liar), "", 1.0)
    await refused(await begin(provider, liar), "mine", BEGUN_LIVES_S + 1)
    await refused(await begin(provider, liar), "mine", 1.0, iss="https://elders.example")
    await refused(await begin(provider, liar), "mine", 1.0, iss="")
    await refused(await begin(provider, liar), "mine", 1.0, error="access_denied")
    await refused(await begin(provider, liar), "mine", 1.0, code="")
    assert liar.asked == [], "and none of these cost the provider a question"


async def test_a_provider_that_refuses_the_code_is_not_away_and_one_that_stumbles_is(
    liar: Liar, provider: OpenIdProvider
) -> None:
    liar.refuses = 400
    with pytest.raises(NotSignedIn):
        await come_back(provider, liar)
    liar.refuses = 500
    with pytest.raises(ProviderAway):
        await come_back(provider, liar)
    for wrong in ({"issuer": "https://elders.example"}, {"token_endpoint": "http://elders.example/"}, {"jwks_uri": 7}):
        liar.description = wrong
        with pytest.raises(ProviderAway):
            await provider.begin(browser="mine", now_s=0.0)
    away = OpenIdProvider(
        msgspec.structs.replace(provider.settings, issuer="http://127.0.0.1:1"),
        origin=ORIGIN,
        secret="x",
        clock=lambda: NOW,
    )
    with pytest.raises(ProviderAway):
        await away.begin(browser="mine", now_s=0.0)
    await away.close()


async def test_with_a_key_of_our_own_no_secret_is_sent(liar: Liar, tmp_path: Path) -> None:
    key = ECKey.generate_key("P-256", private=True)
    (tmp_path / "open-id.pem").write_bytes(key.as_pem(private=True))
    wanted = msgspec.structs.replace(settings(liar), secret_file="", key_file="open-id.pem")
    provider = await asyncio.to_thread(open_provider, wanted, folder=tmp_path, origin=ORIGIN, clock=lambda: NOW)
    await come_back(provider, liar)
    await provider.close()
    (asked,) = liar.asked
    assert liar.proofs == [""]
    proof = jwt.decode(asked["client_assertion"], KeySet([key]), algorithms=["ES256"])
    assert proof.claims["sub"] == proof.claims["iss"] == "vier-ogen"
    assert (proof.claims["aud"], proof.claims["exp"]) == (liar.issuer, NOW_S + 60)
    with pytest.raises(ValueError, match="not there"):
        open_provider(
            msgspec.structs.replace(wanted, key_file="not there"), folder=tmp_path, origin=ORIGIN, clock=lambda: NOW
        )


async def test_whoever_begins_without_end_fills_nothing(liar: Liar, provider: OpenIdProvider) -> None:
    first = await begin(provider, liar)
    one = provider._begun[first]
    provider._begun |= {str(n): one for n in range(MOST_BEGUN)}
    await begin(provider, liar)
    assert len(provider._begun) == MOST_BEGUN
    assert first not in provider._begun

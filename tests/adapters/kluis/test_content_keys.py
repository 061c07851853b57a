"""The key of a clip that another maker's camera encrypted: opened for one released request, and for nobody else."""

import secrets
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1

from broker.wire.approvals import request_sha256
from broker.wire.content_key import content_info
from broker.wire.recording import open_sealed
from broker.wire.refusals import Code
from tests.adapters.kluis.conftest import Town
from tests.adapters.kluis.test_custody import code


@pytest.fixture(scope="module")
def private() -> RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def wrap(key: bytes, private: RSAPrivateKey) -> bytes:
    oaep = padding.OAEP(mgf=padding.MGF1(SHA1()), algorithm=SHA1(), label=None)
    return private.public_key().encrypt(key, oaep)


@pytest.mark.rule("H-47")
def test_a_clips_key_is_sealed_to_the_session_of_the_released_request(town: Town, private: RSAPrivateKey) -> None:
    town.kluis.add_content_key(private, town.world.now)
    key = secrets.token_bytes(32)
    wrapped = wrap(key, private)
    raw, released = town.ask(town.film())
    sealed = town.reopen().content_key(raw, journal_index=released.journal_index, wrapped=wrapped, now=town.world.now)
    assert open_sealed(town.world.session, sealed, info=content_info(request_sha256(raw), wrapped)) == key
    assert '"kind":"content.opened"' in town.journal()


@pytest.mark.rule("H-47")
def test_without_a_release_no_clip_is_opened(town: Town, private: RSAPrivateKey) -> None:
    town.kluis.add_content_key(private, town.world.now)
    wrapped = wrap(bytes(32), private)
    raw, released = town.ask(town.film())
    other, _ = town.ask(town.film())
    index, now = released.journal_index, town.world.now
    unreleased = town.world.request()
    for request, at in ((other, index), (raw, index + 1), (raw, 10**6), (raw, -1), (unreleased, index)):
        asked = {"journal_index": at, "wrapped": wrapped, "now": now}
        assert code(town.kluis.content_key, request, **asked) is Code.NOT_ALLOWED, at
    late = {"journal_index": index, "wrapped": wrapped, "now": now + timedelta(minutes=16)}
    assert code(town.kluis.content_key, raw, **late) is Code.NOT_ALLOWED
    assert '"kind":"content.refused"' in town.journal()


def test_a_clip_wrapped_for_another_key_stays_shut(town: Town, private: RSAPrivateKey) -> None:
    raw, released = town.ask(town.film())
    asked = {"journal_index": released.journal_index, "wrapped": wrap(bytes(32), private), "now": town.world.now}
    assert code(town.kluis.content_key, raw, **asked) is Code.NOT_ALLOWED


def test_a_content_key_lies_sealed_and_is_kept_once(town: Town, private: RSAPrivateKey) -> None:
    name = town.kluis.add_content_key(private, town.world.now)
    assert town.kluis.add_content_key(private, town.world.now) == name
    (path,) = (town.folder / "content").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    secret = private.private_numbers().d.to_bytes(256, "big")
    assert secret not in path.read_bytes()


def test_a_short_content_key_is_refused(town: Town, tmp_path: Path) -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(ValueError, match="at least 2048 bits"):
        town.kluis.add_content_key(short, town.world.now)
    assert not any(tmp_path.glob("**/content/*"))

"""The key of a clip that another maker's camera encrypted: opened for one released request, and for nobody else."""

import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from broker.wire.approvals import request_sha256
from broker.wire.content_key import content_info, read_key_file, unwrap
from broker.wire.recording import open_sealed
from broker.wire.refusals import Code
from cloud.kluis.messages import Released
from tests.adapters.axis.world import lock
from tests.adapters.kluis.conftest import Town
from tests.adapters.kluis.test_custody import code
from tests.rules.kluis.world import Footage


@pytest.fixture(scope="module")
def private() -> RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


Asked = dict[str, Any]


def key_file(private: RSAPrivateKey) -> bytes:
    """What lies beside a clip that a camera encrypted for this content key."""
    return lock(b"a clip", private.public_key())[1]


def asked(town: Town, footage: Footage, released: Released, *, sequence: int = 2) -> Asked:
    """Ask for the key of the clip whose key file is this segment."""
    return {
        "journal_index": released.journal_index,
        "camera_public_key": footage.camera,
        "segment": footage.segments[sequence],
        "now": town.world.now,
    }


@pytest.mark.rule("H-47")
def test_a_clips_key_is_sealed_to_the_session_of_the_released_request(town: Town, private: RSAPrivateKey) -> None:
    town.kluis.add_content_key(private, town.world.now)
    beside = key_file(private)
    footage = town.film(seconds=2, files=[beside])
    raw, released = town.ask(footage, last=2)
    sealed = town.reopen().content_key(raw, **asked(town, footage, released))
    wrapped, _ = read_key_file(beside)
    key = open_sealed(town.world.session, sealed, info=content_info(request_sha256(raw), wrapped))
    assert key == unwrap(wrapped, private)
    assert '"kind":"content.opened"' in town.journal()


@pytest.mark.rule("H-47")
def test_without_a_release_no_clip_is_opened(town: Town, private: RSAPrivateKey) -> None:
    town.kluis.add_content_key(private, town.world.now)
    footage = town.film(seconds=2, files=[key_file(private)])
    raw, released = town.ask(footage, last=2)
    other, _ = town.ask(town.film())
    good, index = asked(town, footage, released), released.journal_index
    unreleased = town.world.request()
    for request, at in ((other, index), (raw, index + 1), (raw, 10**6), (raw, -1), (unreleased, index)):
        assert code(town.kluis.content_key, request, **good | {"journal_index": at}) is Code.NOT_ALLOWED, at
    late = good | {"now": town.world.now + timedelta(minutes=16)}
    assert code(town.kluis.content_key, raw, **late) is Code.NOT_ALLOWED
    assert '"kind":"content.refused"' in town.journal()
    assert town.kluis.content_key(raw, **good)


@pytest.mark.rule("H-47")
def test_a_release_opens_the_clips_that_it_is_about_and_no_other(town: Town, private: RSAPrivateKey) -> None:
    town.kluis.add_content_key(private, town.world.now)
    data_key, files = secrets.token_bytes(32), [key_file(private), key_file(private)]
    footage, other = town.film(seconds=2, files=files, data_key=data_key), town.film(seconds=2, files=files)
    raw, released = town.ask(footage, last=2)
    town.ask(other, last=2)
    good = asked(town, footage, released)
    forged = town.world.film(town.keylist(), recording=footage.id, data_key=data_key, seconds=2, files=files)
    refusals = {
        "a clip of another recording": (asked(town, other, released), Code.NOT_ALLOWED),
        "a clip beyond the range": (good | {"segment": footage.segments[3]}, Code.NOT_ALLOWED),
        "a second of film": (good | {"segment": footage.segments[1]}, Code.NOT_ALLOWED),
        "a key file that its camera did not seal": (good | {"segment": forged.segments[2]}, Code.BAD_SIGNATURE),
        "one sealed by who says to be its camera": (asked(town, forged, released), Code.BAD_SIGNATURE),
        "no camera": (good | {"camera_public_key": b"short"}, Code.MALFORMED),
    }
    for what, (order, expected) in refusals.items():
        assert code(town.kluis.content_key, raw, **order) is expected, what
    assert town.kluis.content_key(raw, **good)
    town.destroy(footage.id)
    assert code(town.kluis.content_key, raw, **good) is Code.DESTROYED


def test_a_clip_wrapped_for_another_key_stays_shut(town: Town, private: RSAPrivateKey) -> None:
    footage = town.film(seconds=2, files=[key_file(private)])
    raw, released = town.ask(footage, last=2)
    assert code(town.kluis.content_key, raw, **asked(town, footage, released)) is Code.NOT_ALLOWED


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

"""Who can open a recording, and who cannot: not the camera that made it."""

import copy
import gc
import pickle
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.wire.keys import Ratchet, join_shares, split_data_key
from broker.wire.recording import (
    PUBLIC_KEY_BYTES,
    Head,
    Recipient,
    Sealer,
    StopReason,
    open_data_key,
    open_sealed,
    open_segment,
    read_head,
    seal_to,
    segment_keys,
    unwrap_share,
    xwing_from_seed,
)
from broker.wire.refusals import Code, Refused
from tests.rules.wire.recordings import NOON, Made, parties, record, recording_id, seal, seeded, start


def _head(made: Made) -> Head:
    return read_head(made.head, made.public)


def _all_bytes_within(thing: object) -> Iterator[bytes]:
    """Every bytes object that can be reached from here in memory, types and modules aside."""
    seen: set[int] = set()
    todo: list[object] = [thing]
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, type) or type(each).__name__ == "module":
            continue
        seen.add(id(each))
        if isinstance(each, bytes | bytearray):
            yield bytes(each)
        todo += gc.get_referents(each)


def _held_secrets(sealer: Sealer) -> set[bytes]:
    """All 32 bytes that stand anywhere in what a sealer holds."""
    return {raw[at : at + 32] for raw in _all_bytes_within(sealer) for at in range(len(raw) - 31)}


def _opens(segment: bytes, key: bytes) -> bool:
    try:
        open_segment(segment, key)
    except Refused:
        return False
    return True


@pytest.mark.rule("H-37")
@pytest.mark.parametrize("shares", [1, 2, 3])
def test_all_shares_together_open_a_recording(shares: int) -> None:
    made = record(shares=shares)
    head = _head(made)
    opened = open_data_key(head, tuple(unwrap_share(head, i, keys) for i, keys in enumerate(made.parties)))
    keys = segment_keys(opened, head.recording, 0, len(made.segments) - 1)
    assert tuple(map(open_segment, made.segments, keys)) == made.plaintexts


@pytest.mark.rule("H-37")
def test_a_share_less_opens_nothing() -> None:
    made = record(shares=3)
    head = _head(made)
    first, second, third = (unwrap_share(head, i, keys) for i, keys in enumerate(made.parties))
    for too_few in ((first,), (first, second), (second, third)):
        with pytest.raises(Refused) as caught:
            open_data_key(head, too_few)
        assert caught.value.refusal.code is Code.MALFORMED
    for wrong in ((first, second, second), (first, second, bytes(32))):
        with pytest.raises(Refused) as caught:
            open_data_key(head, wrong)
        assert caught.value.refusal.code is Code.DIGEST_DIFFERS


def test_a_share_opens_only_for_its_own_party() -> None:
    made = record(shares=2)
    head = _head(made)
    with pytest.raises(Refused) as caught:
        unwrap_share(head, 0, made.parties[1])
    assert caught.value.refusal.code is Code.NOT_ALLOWED
    for index in (-1, 2):
        with pytest.raises(Refused) as caught:
            unwrap_share(head, index, made.parties[0])
        assert caught.value.refusal.code is Code.NOT_FOUND


def test_a_share_moved_into_another_head_does_not_open() -> None:
    made, other = record(), record(name="another")
    moved = Head(
        tenant=_head(other).tenant,
        camera=_head(other).camera,
        recording=_head(other).recording,
        commitment=_head(other).commitment,
        shares=_head(made).shares,
        checkpoint=_head(other).checkpoint,
        sha256=_head(other).sha256,
    )
    with pytest.raises(Refused):
        unwrap_share(moved, 0, made.parties[0])


@pytest.mark.rule("H-37")
def test_a_camera_taken_while_recording_opens_nothing_it_already_sealed() -> None:
    _, sealer = start()
    sealed = []
    for number in range(4):
        sealed.append(seal(sealer, f"footage {number}".encode()))
        held = _held_secrets(sealer)
        for secret in held:
            ratchet = Ratchet(recording=recording_id(), chain=secret)
            later = (ratchet.turn()[0], *segment_keys(secret, recording_id(), 0, number))
            for segment in sealed:
                assert not any(_opens(segment, key) for key in (secret, *later))


def test_the_search_through_a_sealers_memory_does_find_the_next_key() -> None:
    _, sealer = start()
    seal(sealer, b"before")
    held = _held_secrets(sealer)
    following = seal(sealer, b"after")
    keys = {Ratchet(recording=recording_id(), chain=secret).turn()[0] for secret in held}
    assert any(_opens(following, key) for key in keys), "else the test above would look in the wrong place"


def test_a_finished_sealer_holds_no_key_at_all() -> None:
    _, sealer = start()
    seal(sealer, b"x")
    chain = sealer._ratchet.chain
    assert chain in _held_secrets(sealer)
    sealer.finish(reason=StopReason.OFFICER, ended_at=NOON)
    assert chain not in _held_secrets(sealer)


@given(count=st.integers(1, 12), data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_range_of_keys_opens_that_range_and_nothing_else(count: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first, count - 1))
    made = record(tuple(f"segment {n}".encode() for n in range(count)))
    released = segment_keys(made.data_key, made.recording, first, last)
    assert len(released) == last - first + 1
    for sequence, segment in enumerate(made.segments):
        opening = [key for key in released if _opens(segment, key)]
        assert opening == ([released[sequence - first]] if first <= sequence <= last else [])


@pytest.mark.parametrize(("first", "last"), [(-1, 0), (2, 1)])
def test_a_range_that_is_none_is_a_mistake(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="first <= last"):
        segment_keys(bytes(32), recording_id(), first, last)


def test_two_recordings_with_one_data_key_still_share_no_segment_key() -> None:
    mine = segment_keys(bytes(32), recording_id("mine"), 0, 20)
    assert not {*mine} & {*segment_keys(bytes(32), recording_id("yours"), 0, 20)}


@given(data_key=st.binary(min_size=32, max_size=32))
@settings(max_examples=20, deadline=None)
def test_shares_are_fresh_each_time(data_key: bytes) -> None:
    for count in (2, 3):
        one, two = split_data_key(data_key, count), split_data_key(data_key, count)
        assert not {*one} & {*two}
        assert join_shares(one) == join_shares(two) == data_key


@given(plaintext=st.binary(max_size=200), info=st.binary(max_size=80))
@settings(max_examples=20, deadline=None)
def test_what_is_sealed_to_a_party_opens_for_that_party_and_purpose(plaintext: bytes, info: bytes) -> None:
    ours, other = parties(2)
    sealed = seal_to(ours.public_key, plaintext, info=info)
    assert open_sealed(ours, sealed, info=info) == plaintext
    for keys, purpose in ((other, info), (ours, info + b"!")):
        with pytest.raises(Refused):
            open_sealed(keys, sealed, info=purpose)


@pytest.mark.parametrize("length", [0, PUBLIC_KEY_BYTES - 1, PUBLIC_KEY_BYTES + 1])
def test_a_public_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(Refused, match="public key"):
        seal_to(bytes(length), b"x", info=b"")


def test_a_public_key_that_is_none_is_refused() -> None:
    with pytest.raises(Refused, match="public key"):
        seal_to(b"\xff" * PUBLIC_KEY_BYTES, b"x", info=b"")


@pytest.mark.parametrize("length", [0, 1, 1119, 1135])
def test_a_sealed_box_too_short_to_be_one_is_refused(length: int) -> None:
    with pytest.raises(Refused):
        open_sealed(parties(1)[0], bytes(length), info=b"")


def test_no_secret_is_ever_shown() -> None:
    made = record(shares=2)
    _, sealer = start()
    ratchet = Ratchet.of(made.data_key, made.recording)
    shown = [repr(each) for each in (sealer, ratchet, *made.parties, _head(made))]
    shown += [str(each) for each in (sealer, ratchet, *made.parties)]
    for secret in (made.data_key, ratchet.chain, made.parties[0].seed):
        assert not any(repr(secret)[2:-1] in text or secret.hex() in text for text in shown)


def test_a_sealer_and_a_ratchet_are_never_written_down_or_copied() -> None:
    _, sealer = start()
    for secret in (sealer, Ratchet.of(bytes(32), recording_id())):
        with pytest.raises(TypeError, match="secret"):
            pickle.dumps(secret)
        with pytest.raises(TypeError, match="secret"):
            copy.deepcopy(secret)


def test_a_key_pair_comes_from_its_seed_alone() -> None:
    assert xwing_from_seed(seeded("x")) == xwing_from_seed(seeded("x"))
    assert xwing_from_seed(seeded("x")).public_key != xwing_from_seed(seeded("y")).public_key
    with pytest.raises(ValueError, match="32 bytes"):
        xwing_from_seed(b"short")


@pytest.mark.parametrize("count", [0, 4])
def test_a_recording_has_one_to_three_recipients(count: int) -> None:
    made = record(())
    keys = [Recipient(key_id=bytes(16), public_key=parties(1)[0].public_key)] * count
    with pytest.raises(ValueError, match="recipients"):
        Sealer.start(
            tenant=made.tenant,
            signing_key=made.camera,
            recording=made.recording,
            boot=bytes(16),
            data_key=bytes(32),
            recipients=tuple(keys),
            checkpoint=_head(made).checkpoint,
        )

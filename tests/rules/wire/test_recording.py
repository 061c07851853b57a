"""What a camera makes comes back whole, or is refused."""

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.wire.recording import (
    MAX_PLAINTEXT_BYTES,
    MAX_SEGMENT_BYTES,
    ChainState,
    Checkpoint,
    Flag,
    Kind,
    Sealer,
    StopReason,
    check_chain,
    claimed_camera,
    claimed_version,
    open_data_key,
    open_segment,
    read_end,
    read_head,
    read_segment,
    read_segment_ends,
    segment_digest,
    segment_keys,
    unwrap_share,
)
from broker.wire.refusals import Code, Refused
from tests.rules.wire.recordings import (
    NOON,
    SECOND,
    camera_key,
    ends_of,
    parties,
    recipients,
    record,
    seal,
    seeded,
    start,
)

_MOMENTS = st.timedeltas(min_value=timedelta(), max_value=timedelta(days=365 * 8000)).map(
    lambda since: datetime(1970, 1, 1, tzinfo=UTC) + since
)
_BYTES_16 = st.binary(min_size=16, max_size=16)
_BYTES_32 = st.binary(min_size=32, max_size=32)


def _flipped(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(size=st.integers(0, 2**64 - 1), root=_BYTES_32, boot=_BYTES_16, data_key=_BYTES_32, count=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_a_head_reads_back_as_it_was_written(size: int, root: bytes, boot: bytes, data_key: bytes, count: int) -> None:
    made = record(())
    checkpoint = Checkpoint(size=size, root=root)
    raw, _ = Sealer.start(
        tenant=made.tenant,
        signing_key=made.camera,
        recording=made.recording,
        boot=boot,
        data_key=data_key,
        recipients=recipients(parties(count)),
        checkpoint=checkpoint,
    )
    head = read_head(raw, made.public)
    assert (head.tenant, head.recording, head.checkpoint) == (made.tenant, made.recording, checkpoint)
    assert [each.key_id for each in head.shares] == [each.key_id for each in parties(count)]
    assert len(raw) == 1381 + (count - 1) * 1187
    assert open_data_key(head, tuple(unwrap_share(head, i, keys) for i, keys in enumerate(parties(count)))) == data_key


@given(
    plaintext=st.binary(max_size=40_000),
    flags=st.integers(0, 15),
    kind=st.sampled_from(Kind),
    starts_at=_MOMENTS,
    ends_at=_MOMENTS,
    monotonic_us=st.integers(0, 2**64 - 1),
)
@settings(max_examples=60, deadline=None)
def test_a_segment_reads_back_as_it_was_sealed(
    plaintext: bytes, flags: int, kind: Kind, starts_at: datetime, ends_at: datetime, monotonic_us: int
) -> None:
    _, sealer = start()
    raw = sealer.seal(
        plaintext, kind=kind, flags=Flag(flags), starts_at=starts_at, ends_at=ends_at, monotonic_us=monotonic_us
    )
    facts = read_segment(raw, camera_key().public_key())
    assert (facts.flags, facts.kind, facts.starts_at, facts.ends_at) == (Flag(flags), kind, starts_at, ends_at)
    assert (facts.monotonic_us, facts.sequence, facts.salvaged) == (monotonic_us, 0, False)
    assert facts.digest == segment_digest(raw)
    assert facts == read_segment_ends(raw[:160], raw[-128:], camera_key().public_key())
    assert open_segment(raw, segment_keys(seeded("data key of recording"), facts.recording, 0, 0)[0]) == plaintext


@given(count=st.integers(0, 5), reason=st.sampled_from(StopReason), ended_at=_MOMENTS)
@settings(max_examples=30, deadline=None)
def test_an_end_record_reads_back_as_it_was_written(count: int, reason: StopReason, ended_at: datetime) -> None:
    _, sealer = start()
    segments = [seal(sealer, b"x" * n) for n in range(count)]
    end = read_end(sealer.finish(reason=reason, ended_at=ended_at), camera_key().public_key())
    assert (end.segments, end.stop_reason, end.ended_at) == (count, reason, ended_at)
    assert end.total_bytes == sum(len(each) - 288 for each in segments)


@pytest.mark.parametrize("part", ["head", "segment", "end record"])
def test_every_single_flipped_bit_of_a_recording_is_refused(part: str) -> None:
    made = record((b"a small segment",))
    readers: dict[str, tuple[bytes, Callable[[bytes, Ed25519PublicKey], object]]] = {
        "head": (made.head, read_head),
        "segment": (made.segments[0], read_segment),
        "end record": (made.end, read_end),
    }
    raw, read = readers[part]
    public = made.public
    for bit in range(8 * len(raw)):
        with pytest.raises(Refused):
            read(_flipped(raw, bit), public)


def test_every_single_flipped_bit_of_a_ciphertext_keeps_a_segment_shut() -> None:
    made = record((b"a small segment",))
    raw, key = made.segments[0], made.key(0)
    for bit in range(8 * 160, 8 * (len(raw) - 128)):
        with pytest.raises(Refused) as caught:
            open_segment(_flipped(raw, bit), key)
        assert caught.value.refusal.code is Code.DIGEST_DIFFERS


@given(raw=st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused_and_never_crashes_a_reader(raw: bytes) -> None:
    public = camera_key().public_key()
    for magic in (b"", b"VOHEAD1\n\x01", b"VOSEG1\r\n\x01\x01", b"VOEND1\r\n\x01"):
        for read in (read_head, read_segment, read_end):
            with pytest.raises(Refused):
                read(magic + raw, public)


@given(cut=st.integers(0, 2600), length=st.integers(0, 2600))
@settings(max_examples=100, deadline=None)
def test_a_shortened_or_lengthened_file_is_refused(cut: int, length: int) -> None:
    made = record((b"a small segment",))
    for raw, read in ((made.head, read_head), (made.segments[0], read_segment), (made.end, read_end)):
        for changed in (raw[: min(cut, len(raw) - 1)], raw + bytes(length + 1)):
            with pytest.raises(Refused):
                read(changed, made.public)


@pytest.mark.parametrize(
    ("offset", "what"),
    [(98, "after the kind"), (132, "at the header's end"), (159, "at the header's end"), (-126 + 8, "in the trailer")],
)
def test_a_reserved_byte_that_is_not_zero_is_refused_even_when_signed(offset: int, what: str) -> None:
    made = record((b"x",))
    raw = bytearray(made.segments[0])
    raw[offset if offset >= 0 else len(raw) - 128 + 10] = 1
    signed = bytes(raw[:160] + raw[-128:-64])
    raw[-64:] = made.camera.sign(signed)
    with pytest.raises(Refused, match="reserved") as caught:
        read_segment(bytes(raw), made.public)
    assert caught.value.refusal.code is Code.MALFORMED, what


@pytest.mark.parametrize(
    ("offset", "value", "expected"),
    [
        (8, b"\x02", "version 1"),
        (9, b"\x02", "suite 1"),
        (10, b"\x00\x10", "known flags"),
        (96, b"\x00\x07", "known Kind"),
        (54, b"\x40", "UUIDv7"),
        (80, b"\xff" * 8, "9999"),
    ],
)
def test_a_signed_segment_that_says_something_unknown_is_refused(offset: int, value: bytes, expected: str) -> None:
    made = record((b"x",))
    raw = bytearray(made.segments[0])
    raw[offset : offset + len(value)] = value
    raw[-64:] = made.camera.sign(bytes(raw[:160] + raw[-128:-64]))
    with pytest.raises(Refused, match=expected):
        read_segment(bytes(raw), made.public)


@pytest.mark.parametrize("length", [0, 71, MAX_SEGMENT_BYTES, 2**63])
def test_a_signed_trailer_with_an_impossible_length_is_refused(length: int) -> None:
    made = record((b"x",))
    raw = bytearray(made.segments[0])
    raw[-128 + 16 : -128 + 24] = struct.pack(">Q", length)
    raw[-64:] = made.camera.sign(bytes(raw[:160] + raw[-128:-64]))
    with pytest.raises(Refused, match="bytes of ciphertext"):
        read_segment_ends(bytes(raw[:160]), bytes(raw[-128:]), made.public)


def test_another_cameras_signature_is_refused() -> None:
    made, other = record((b"x",)), camera_key("another camera").public_key()
    for raw, read in ((made.head, read_head), (made.segments[0], read_segment), (made.end, read_end)):
        with pytest.raises(Refused) as caught:
            read(raw, other)
        assert caught.value.refusal.code is Code.BAD_SIGNATURE


def test_a_segment_of_eight_mebibytes_fits_and_a_byte_more_does_not() -> None:
    _, sealer = start()
    raw = seal(sealer, bytes(MAX_PLAINTEXT_BYTES))
    assert len(raw) <= MAX_SEGMENT_BYTES
    assert read_segment(raw, camera_key().public_key()).sequence == 0
    with pytest.raises(Refused) as caught:
        seal(sealer, bytes(MAX_PLAINTEXT_BYTES + 1))
    assert caught.value.refusal.code is Code.TOO_LARGE
    assert sealer.sequence == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"starts_at": NOON.replace(tzinfo=None)},
        {"ends_at": NOON.replace(tzinfo=None)},
        {"ends_at": datetime(1969, 1, 1, tzinfo=UTC)},
        {"monotonic_us": -1},
    ],
)
def test_a_mistake_of_the_caller_costs_the_recording_no_key(wrong: dict[str, object]) -> None:
    made = record(())
    _, sealer = start()
    fine: dict[str, object] = {
        "kind": Kind.VIDEO,
        "flags": Flag.NONE,
        "starts_at": NOON,
        "ends_at": NOON,
        "monotonic_us": 0,
    }
    with pytest.raises((ValueError, struct.error)):
        sealer.seal(b"x", **(fine | wrong))  # type: ignore[arg-type] # on purpose
    raw = seal(sealer, b"still in step")
    assert open_segment(raw, made.key(0)) == b"still in step"


def test_a_finished_sealer_seals_no_more() -> None:
    _, sealer = start()
    sealer.finish(reason=StopReason.OFFICER, ended_at=NOON)
    with pytest.raises(ValueError, match="finished"):
        seal(sealer, b"x")
    with pytest.raises(ValueError, match="finished"):
        sealer.finish(reason=StopReason.OFFICER, ended_at=NOON)


def test_a_head_names_its_camera_and_version_before_anything_is_checked() -> None:
    made = record((b"x",))
    assert claimed_camera(made.head) == read_head(made.head, made.public).camera
    assert [claimed_version(raw) for raw in (made.head, made.segments[0], made.end, b"", b"VOHEAD1\n")] == [
        1,
        1,
        1,
        None,
        None,
    ]
    assert claimed_version(made.head[:8] + b"\x02" + made.head[9:]) == 2


def test_the_ends_of_a_segment_are_enough_to_name_it() -> None:
    made = record((b"x", b"y"))
    assert [segment_digest(ends_of(each)) for each in made.segments] == [segment_digest(each) for each in made.segments]
    assert read_segment(made.segments[1], made.public).previous == segment_digest(made.segments[0])


def test_time_on_the_wire_keeps_its_microseconds() -> None:
    _, sealer = start()
    moment = NOON + timedelta(microseconds=123_457)
    raw = sealer.seal(b"", kind=Kind.VIDEO, flags=Flag.NONE, starts_at=moment, ends_at=moment + SECOND, monotonic_us=5)
    facts = read_segment(raw, camera_key().public_key())
    assert (facts.starts_at, facts.ends_at) == (moment, moment + SECOND)


def test_a_branch_goes_on_and_leaves_the_sealer_where_it_was() -> None:
    head, sealer = start()
    tried = sealer.branch()
    seal(tried, b"of a sender who left")
    assert sealer.sequence == 0
    kept = sealer.branch()
    segments = [seal(kept, b"one"), seal(kept, b"two")]
    assert [sealer.follow(raw) for raw in segments] == [b"one", b"two"]
    segments.append(seal(sealer, b"three"))
    end = sealer.finish(reason=StopReason.OFFICER, ended_at=NOON)
    key = camera_key().public_key()
    facts = tuple(read_segment(raw, key) for raw in segments)
    assert check_chain(read_head(head, key), facts, read_end(end, key)).state is ChainState.INTACT


def test_what_another_branch_sealed_is_not_followed() -> None:
    _, sealer = start()
    other = sealer.branch()
    seal(other, b"one")
    with pytest.raises(Refused):
        sealer.follow(seal(other, b"two"))
    assert sealer.sequence == 0

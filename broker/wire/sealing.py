"""Making a recording, on a camera that cannot read what it made; and opening one, with keys that somebody released."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import constant_time
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.wire.chain import check_links
from broker.wire.ids import CameraKeyId, RecordingId, TenantId, camera_key_id
from broker.wire.keys import (
    KEY_BYTES,
    KEY_ID_BYTES,
    Ratchet,
    XWingKeyPair,
    commitment_of,
    join_shares,
    open_sealed,
    seal_to,
    split_data_key,
)
from broker.wire.layout import (
    CHUNK_BYTES,
    MAX_PLAINTEXT_BYTES,
    MAX_SHARES,
    MIN_CIPHERTEXT_BYTES,
    SALT_BYTES,
    SEGMENT_HEADER_BYTES,
    SEGMENT_TAIL_BYTES,
    TRAILER_MAGIC,
    Checkpoint,
    End,
    Flag,
    Head,
    Kind,
    SegmentFacts,
    StopReason,
    WrappedShare,
    check_ciphertext,
    check_ciphertext_length,
    microseconds,
    read_head,
    read_segment,
    read_segment_ends,
    segment_digest,
    split_segment,
    unverified_segment_facts,
    wrap_info,
    write_end,
    write_head,
    write_segment_header,
    write_segment_tail,
)
from broker.wire.refusals import Code, Refused, refuse

_BOOT_BYTES: Final = 16
_ROOT_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A party that holds one share of the data key: key id (16 bytes) and raw X-Wing public key (1216 bytes)."""

    key_id: bytes
    public_key: bytes = field(repr=False)


class Sealer:
    """One recording being made, in one boot. Forgets each key once used: what is sealed is sealed to this camera too.

    It holds no more than the ratchet's next step, cannot be pickled, and shows no secret.
    """

    __slots__ = (
        "_boot",
        "_camera",
        "_finished",
        "_key",
        "_previous",
        "_ratchet",
        "_recording",
        "_sequence",
        "_tenant",
        "_total",
    )

    def __init__(
        self,
        *,
        tenant: TenantId,
        key: Ed25519PrivateKey,
        recording: RecordingId,
        boot: bytes,
        ratchet: Ratchet,
        head_sha256: bytes,
    ) -> None:
        """Use `start`."""
        self._tenant = tenant
        self._key = key
        self._camera: CameraKeyId = camera_key_id(key.public_key().public_bytes_raw())
        self._recording = recording
        self._boot = boot
        self._ratchet = ratchet
        self._previous = head_sha256
        self._sequence = 0
        self._total = 0
        self._finished = False

    @classmethod
    def start(
        cls,
        *,
        tenant: TenantId,
        signing_key: Ed25519PrivateKey,
        recording: RecordingId,
        boot: bytes,
        data_key: bytes,
        recipients: tuple[Recipient, ...],
        checkpoint: Checkpoint,
    ) -> tuple[bytes, "Sealer"]:
        """Return (head bytes, sealer). 1 to 3 recipients; with n > 1 the data key is XOR-shared among them.

        `data_key` is 32 fresh random bytes, `boot` 16 (random per boot). The caller keeps no copy of the data key.
        """
        _check_lengths(boot=(boot, _BOOT_BYTES), data_key=(data_key, KEY_BYTES), root=(checkpoint.root, _ROOT_BYTES))
        if not 1 <= len(recipients) <= MAX_SHARES:
            raise ValueError(f"recipients: expected 1 to {MAX_SHARES}, got {len(recipients)}")
        if recording.version != 7:
            raise ValueError(f"recording: expected a UUIDv7, got {recording}")
        camera = camera_key_id(signing_key.public_key().public_bytes_raw())
        commitment = commitment_of(data_key, recording)
        shares = []
        for index, share in enumerate(split_data_key(data_key, len(recipients))):
            party = recipients[index]
            _check_lengths(key_id=(party.key_id, KEY_ID_BYTES))
            info = wrap_info(
                tenant=tenant,
                camera=camera,
                recording=recording,
                index=index,
                shares=len(recipients),
                key_id=party.key_id,
                commitment=commitment,
            )
            wrapped = seal_to(party.public_key, share, info=info)
            shares.append(WrappedShare(index=index, key_id=party.key_id, wrapped=wrapped))
        head = write_head(
            tenant=tenant,
            recording=recording,
            commitment=commitment,
            shares=tuple(shares),
            checkpoint=checkpoint,
            key=signing_key,
        )
        sealer = cls(
            tenant=tenant,
            key=signing_key,
            recording=recording,
            boot=boot,
            ratchet=Ratchet.of(data_key, recording),
            head_sha256=hashlib.sha256(head).digest(),
        )
        return head, sealer

    def seal(
        self, plaintext: bytes, *, kind: Kind, flags: Flag, starts_at: datetime, ends_at: datetime, monotonic_us: int
    ) -> bytes:
        """Return the next segment, whole: header, ciphertext, trailer, signature. At most 8 MiB (Refused TOO_LARGE).

        What can be wrong with the arguments is found before the key is used; the key is gone afterwards.
        """
        self._check_open()
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise refuse(Code.TOO_LARGE, "segment", expected=f"at most {MAX_PLAINTEXT_BYTES} bytes", got=len(plaintext))
        microseconds(ends_at)
        header = write_segment_header(
            sequence=self._sequence,
            flags=flags,
            kind=kind,
            tenant=self._tenant,
            camera=self._camera,
            recording=self._recording,
            boot=self._boot,
            starts_at=starts_at,
            monotonic_us=monotonic_us,
            previous=self._previous,
        )
        key, following = self._ratchet.turn()
        cipher = Cobblestone256Encryptor(key, header)
        most, rest = cipher.update(plaintext), cipher.finalize()
        tail = write_segment_tail(header, most, rest, ends_at=ends_at, salvaged=False, key=self._key)
        self._ratchet = following
        self._previous = hashlib.sha256(header + tail).digest()
        self._sequence += 1
        self._total += len(most) + len(rest)
        return b"".join((header, most, rest, tail))

    def branch(self) -> "Sealer":
        """Return another that goes on from here: for what is sealed before it is certain that it will be kept.

        Of all branches at most one may be kept, and the others' bytes with their sealers are to be forgotten. A key
        then seals more than once, each time under a salt of its own.
        """
        self._check_open()
        other = Sealer.__new__(Sealer)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        return other

    def follow(self, raw: bytes) -> bytes:
        """Return what a branch of this one sealed next, and stand behind it too; Refused DIGEST_DIFFERS otherwise."""
        self._check_open()
        key, following = self._ratchet.turn()
        plaintext = open_segment(raw, key)
        self._ratchet = following
        self._previous = segment_digest(raw)
        self._sequence += 1
        self._total += len(raw) - SEGMENT_HEADER_BYTES - SEGMENT_TAIL_BYTES
        return plaintext

    def finish(self, *, reason: StopReason, ended_at: datetime) -> bytes:
        """Return the end record; the sealer can seal no more."""
        self._check_open()
        end = End(
            recording=self._recording,
            segments=self._sequence,
            last_hash=self._previous,
            total_bytes=self._total,
            stop_reason=reason,
            ended_at=ended_at,
        )
        raw = write_end(end, key=self._key)
        self._finished = True
        del self._ratchet
        return raw

    @property
    def sequence(self) -> int:
        """Sequence number of the next segment."""
        return self._sequence

    def _check_open(self) -> None:
        if self._finished:
            raise ValueError("sealer: this recording is finished; start another")

    def __repr__(self) -> str:
        """Which recording and how far; never a key."""
        return f"<Sealer of {self._recording}, next segment {self._sequence}>"

    def __reduce__(self) -> str:
        """Refuse to be pickled: a recording never continues in another process or boot."""
        raise TypeError("a sealer holds secrets and is not written down")


def close_interrupted(
    *, head: bytes, tails: tuple[bytes, ...], signing_key: Ed25519PrivateKey, ended_at: datetime
) -> bytes:
    """Return an INTERRUPTED end record for what a power cut left.

    `tails` = header || trailer || signature (288 bytes) of each segment in order, from 0 and without a hole. Raises
    Refused (MALFORMED, BAD_SIGNATURE, BROKEN_CHAIN) for what this camera did not make in one piece; then keep
    everything and raise an alert.
    """
    public = signing_key.public_key()
    opened = read_head(head, public)
    facts = tuple(read_segment_ends(ends[:SEGMENT_HEADER_BYTES], ends[SEGMENT_HEADER_BYTES:], public) for ends in tails)
    broken = check_links(opened, facts)
    if broken is not None:
        raise refuse(
            Code.BROKEN_CHAIN, "interrupted recording", expected="segments in order from 0", got=broken.because
        )
    end = End(
        recording=opened.recording,
        segments=len(facts),
        last_hash=facts[-1].digest if facts else opened.sha256,
        total_bytes=sum(each.ciphertext_bytes for each in facts),
        stop_reason=StopReason.INTERRUPTED,
        ended_at=ended_at,
    )
    return write_end(end, key=signing_key)


def salvage_segment(part: bytes, *, signing_key: Ed25519PrivateKey, ended_at: datetime) -> bytes | None:
    """Return the segment that a power cut left of one, or None if nothing of it could ever be opened.

    A whole segment that only missed its final name is returned as it is. Otherwise the camera signs the ciphertext
    that is there and marks it salvaged: it cannot read it, so what it is worth shows at opening, chunk by chunk.
    """
    if _is_whole(part, signing_key):
        return part
    header, ciphertext = part[:SEGMENT_HEADER_BYTES], _without_trailer(part[SEGMENT_HEADER_BYTES:])
    if len(ciphertext) < MIN_CIPHERTEXT_BYTES:
        return None
    tail = write_segment_tail(header, ciphertext, ends_at=ended_at, salvaged=True, key=signing_key)
    try:
        read_segment_ends(header, tail, signing_key.public_key())
    except Refused:
        return None  # a header that never was this camera's, or that the cut damaged
    return header + ciphertext + tail


def _is_whole(part: bytes, signing_key: Ed25519PrivateKey) -> bool:
    try:
        read_segment(part, signing_key.public_key())
    except Refused:
        return False
    return True


def _without_trailer(rest: bytes) -> bytes:
    """Leave out a trailer that was cut short; its magic in the last 128 bytes is chance once in 2**57."""
    begin = rest.find(TRAILER_MAGIC, max(0, len(rest) - SEGMENT_TAIL_BYTES))
    return rest if begin < 0 else rest[:begin]


# --- opening ----------------------------------------------------------------------------------------------------


def unwrap_share(head: Head, index: int, keys: XWingKeyPair) -> bytes:
    """Return the share at this index (from 0), 32 bytes; Refused if it is not there or not sealed to these keys."""
    if not 0 <= index < len(head.shares):
        raise refuse(Code.NOT_FOUND, "share", expected=f"0 to {len(head.shares) - 1}", got=index)
    share = head.shares[index]
    if share.key_id != keys.key_id:
        raise refuse(Code.NOT_ALLOWED, "share", expected=f"key {share.key_id.hex()}", got=keys.key_id.hex())
    info = wrap_info(
        tenant=head.tenant,
        camera=head.camera,
        recording=head.recording,
        index=index,
        shares=len(head.shares),
        key_id=share.key_id,
        commitment=head.commitment,
    )
    return open_sealed(keys, share.wrapped, info=info)


def open_data_key(head: Head, shares: tuple[bytes, ...]) -> bytes:
    """XOR the shares (all of them, in any order) and check the head's commitment; Refused otherwise."""
    if len(shares) != len(head.shares):
        raise refuse(Code.MALFORMED, "shares", expected=f"{len(head.shares)} shares", got=len(shares))
    data_key = join_shares(shares)
    if not constant_time.bytes_eq(commitment_of(data_key, head.recording), head.commitment):
        raise refuse(Code.DIGEST_DIFFERS, "data key", expected="the key of the head's commitment", got="another")
    return data_key


def open_segment(raw: bytes, key: bytes) -> bytes:
    """Decrypt one whole segment (its signature is checked elsewhere); Refused DIGEST_DIFFERS on any mismatch.

    Of a salvaged segment: the authenticated prefix, in whole chunks of 16384 bytes; possibly nothing.
    """
    header, ciphertext, _ = split_segment(raw)
    facts = unverified_segment_facts(raw)
    if facts.salvaged:
        check_ciphertext(facts, ciphertext)  # else a changed byte would pass for the place of the cut
    else:
        check_ciphertext_length(facts, ciphertext)
    try:
        cipher = Cobblestone256Decryptor(key, header)
        if facts.salvaged:
            return _open_prefix(cipher, ciphertext)
        return cipher.update(ciphertext) + cipher.finalize()
    except (InvalidTag, ValueError) as cause:
        raise _not_this_key(facts) from cause


def _open_prefix(cipher: Cobblestone256Decryptor, ciphertext: memoryview) -> bytes:
    """Return what is authentic from the start; InvalidTag if the key is not this segment's at all."""
    opened = [cipher.update(ciphertext[:SALT_BYTES])]
    try:
        for begin in range(SALT_BYTES, len(ciphertext), CHUNK_BYTES):
            opened.append(cipher.update(ciphertext[begin : begin + CHUNK_BYTES]))  # noqa: PERF401 - keeps what came first
        opened.append(cipher.finalize())
    except InvalidTag:
        return b"".join(opened)  # cut off here: the chunks before it are the camera's own
    return b"".join(opened)


def _not_this_key(facts: SegmentFacts) -> Refused:
    return refuse(
        Code.DIGEST_DIFFERS,
        f"segment {facts.sequence}",
        expected="the ciphertext of this key",
        got="another, or damaged",
    )


def _check_lengths(**named: tuple[bytes, int]) -> None:
    for name, (value, length) in named.items():
        if len(value) != length:
            raise ValueError(f"{name}: expected {length} bytes, got {len(value)}")

"""A recording: one head, N segments, one end record; encrypted and signed while it is made.

One door to four rooms, so that every part says `from broker.wire.recording import ...`:

- `layout`   where every byte lies; reading checks form and signature;
- `keys`     the data key, its shares, the ratchet, sealing to a party;
- `sealing`  making a recording, closing what a power cut left, opening with released keys;
- `chain`    whether the segments are in order and all there.

Head file `head.voh`, segments `00000000.vos` upward, end record `end.voe`.
"""

from broker.wire.chain import ChainState, ChainVerdict, check_chain, check_links
from broker.wire.keys import (
    KEY_BYTES,
    PUBLIC_KEY_BYTES,
    XWingKeyPair,
    open_sealed,
    public_key_id,
    seal_to,
    segment_keys,
    xwing_from_seed,
)
from broker.wire.layout import (
    END_BYTES,
    MAX_PLAINTEXT_BYTES,
    MAX_SEGMENT_BYTES,
    MAX_SHARES,
    SEGMENT_HEADER_BYTES,
    SEGMENT_TAIL_BYTES,
    SEGMENT_TRAILER_BYTES,
    SIGNATURE_BYTES,
    VERSION,
    Checkpoint,
    End,
    Flag,
    Head,
    Kind,
    SegmentFacts,
    StopReason,
    WrappedShare,
    check_ciphertext,
    checkpoint_in,
    claimed_camera,
    claimed_version,
    read_end,
    read_head,
    read_segment,
    read_segment_ends,
    segment_digest,
    split_segment,
    unverified_segment_ends,
    unverified_segment_facts,
)
from broker.wire.sealing import (
    Recipient,
    Sealer,
    close_interrupted,
    open_data_key,
    open_segment,
    salvage_segment,
    unwrap_share,
)

__all__ = [
    "END_BYTES",
    "KEY_BYTES",
    "MAX_PLAINTEXT_BYTES",
    "MAX_SEGMENT_BYTES",
    "MAX_SHARES",
    "PUBLIC_KEY_BYTES",
    "SEGMENT_HEADER_BYTES",
    "SEGMENT_TAIL_BYTES",
    "SEGMENT_TRAILER_BYTES",
    "SIGNATURE_BYTES",
    "VERSION",
    "ChainState",
    "ChainVerdict",
    "Checkpoint",
    "End",
    "Flag",
    "Head",
    "Kind",
    "Recipient",
    "Sealer",
    "SegmentFacts",
    "StopReason",
    "WrappedShare",
    "XWingKeyPair",
    "check_chain",
    "check_ciphertext",
    "check_links",
    "checkpoint_in",
    "claimed_camera",
    "claimed_version",
    "close_interrupted",
    "open_data_key",
    "open_sealed",
    "open_segment",
    "public_key_id",
    "read_end",
    "read_head",
    "read_segment",
    "read_segment_ends",
    "salvage_segment",
    "seal_to",
    "segment_digest",
    "segment_keys",
    "split_segment",
    "unverified_segment_ends",
    "unverified_segment_facts",
    "unwrap_share",
    "xwing_from_seed",
]

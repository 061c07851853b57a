"""The ledger's mathematics and formats: a Merkle tree that only grows, and proofs about it that fit in a text file.

Hashing by RFC 6962 section 2.1; signed notes, checkpoints, cosignatures and proofs by C2SP (signed-note,
tlog-checkpoint, tlog-cosignature, tlog-proof). Needs nothing but the standard library and `cryptography`, so that the
offline verifier uses the same code as the ledger itself.
"""

import binascii
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.refusals import Code, Refused, refuse

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
MAX_SIGNATURES: Final = 64
"""A note with more is refused; C2SP signed-note asks for at least 16."""

ED25519: Final = b"\x01"
COSIGNATURE: Final = b"\x04"
"""Kinds of keys and signatures, C2SP signed-note and tlog-cosignature."""

_PROOF_LINE: Final = "c2sp.org/tlog-proof@v1"
_DASH: Final = "\N{EM DASH} "


# --- the tree ----------------------------------------------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry (RFC 6962: SHA-256 of a zero byte and the entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 6962: SHA-256 of a one byte and both children)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(entries: Iterable[bytes]) -> bytes:
    """Return the root over these entries."""
    tree = Tree()
    for entry in entries:
        tree.append(leaf_hash(entry))
    return tree.root()


class Tree:
    """A whole tree in memory, 64 bytes a leaf: every complete subtree's hash, level by level.

    `level(k)` holds the hashes of the complete aligned subtrees of 2**k leaves, one after the other.
    """

    def __init__(self) -> None:
        self._levels: list[bytearray] = [bytearray()]

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0]) // HASH_BYTES

    def append(self, leaf: bytes) -> None:
        """Add one leaf by its hash."""
        node, k = leaf, 0
        while True:
            if k == len(self._levels):
                self._levels.append(bytearray())
            level = self._levels[k]
            level += node
            if (len(level) // HASH_BYTES) % 2:
                return
            node, k = node_hash(bytes(level[-64:-32]), bytes(level[-32:])), k + 1

    def forget_after(self, size: int) -> None:
        """Take back the leaves from `size` on; for a writer whose last batch did not become durable."""
        for k, level in enumerate(self._levels):
            del level[(size >> k) * HASH_BYTES :]

    def nodes(self, k: int, first: int, last: int) -> bytes:
        """Return the hashes of complete subtrees first..last-1 of 2**k leaves; fewer where the tree ends."""
        return bytes(self._levels[k][first * HASH_BYTES : last * HASH_BYTES]) if k < len(self._levels) else b""

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` leaves (all of them when None)."""
        size = self.size if size is None else size
        return self._subtree(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Return PATH(index, D[size]) of RFC 6962 section 2.1.1, from the leaf's sibling to the root's child."""
        size = self.size if size is None else size
        if not 0 <= index < size <= self.size:
            raise ValueError(f"inclusion: expected an index below {size} of {self.size}, got {index}")
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start = middle
        return tuple(reversed(path))

    def consistency(self, first: int, second: int | None = None) -> tuple[bytes, ...]:
        """Return PROOF(first, D[second]) of RFC 6962 section 2.1.2."""
        second = self.size if second is None else second
        if not 0 < first <= second <= self.size:
            raise ValueError(f"consistency: expected 0 < first <= second <= {self.size}, got {first} and {second}")
        if first == second:
            return ()
        path: list[bytes] = []
        start, end = 0, second
        whole = True
        while first != end:
            middle = start + _split(end - start)
            if first <= middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start, whole = middle, False
        if not whole:
            path.append(self._subtree(start, end))
        return tuple(reversed(path))

    def _subtree(self, start: int, end: int) -> bytes:
        """Return MTH(D[start:end]), start being aligned as in every split of RFC 6962."""
        count = end - start
        if count & (count - 1) == 0:
            k = count.bit_length() - 1
            at = (start >> k) * HASH_BYTES
            return bytes(self._levels[k][at : at + HASH_BYTES])
        middle = start + _split(count)
        return node_hash(self._subtree(start, middle), self._subtree(middle, end))


def _split(count: int) -> int:
    """Return the largest power of two smaller than count."""
    return 1 << (count - 1).bit_length() - 1


def check_inclusion(leaf: bytes, *, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raise Refused (BAD_SIGNATURE) unless this leaf hash stands at `index` in the tree (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        raise refuse(Code.BAD_SIGNATURE, "inclusion proof", expected=f"an index below {size}", got=index)
    fn, sn, node = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            raise refuse(Code.BAD_SIGNATURE, "inclusion proof", expected="a shorter path", got=f"{len(path)} hashes")
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn or node != root:
        raise refuse(Code.BAD_SIGNATURE, "inclusion proof", expected=f"root {root.hex()}", got=node.hex())


def check_consistency(*, first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]) -> None:
    """Raise Refused (BAD_SIGNATURE) unless the second tree only added to the first (RFC 9162 section 2.1.4.2)."""
    wrong = refuse(
        Code.BAD_SIGNATURE,
        "consistency proof",
        expected=f"a tree of {second} that grew from the one of {first}",
        got="another tree",
    )
    if first > second or first < 0:
        raise wrong
    if first in {0, second}:
        if path or (first == second and first_root != second_root) or (first == 0 and first_root != EMPTY_ROOT):
            raise wrong
        return
    hashes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    if not hashes:
        raise wrong
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    older = newer = hashes[0]
    for sibling in hashes[1:]:
        if sn == 0:
            raise wrong
        if fn & 1 or fn == sn:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            newer = node_hash(newer, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn or older != first_root or newer != second_root:
        raise wrong


# --- signed notes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A text and the lines of signatures under it, none of them checked: (key's name, key id, signature)."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]


def key_id(name: str, key: Ed25519PublicKey, *, kind: bytes = ED25519) -> bytes:
    """Return the four bytes by which a note names a key (C2SP signed-note)."""
    return hashlib.sha256(name.encode() + b"\n" + kind + key.public_bytes_raw()).digest()[:4]


def verifier_key(name: str, key: Ed25519PublicKey, *, kind: bytes = ED25519) -> str:
    """Return the key as people hand it on: ``name+hash+base64``; a witness's has kind COSIGNATURE."""
    return f"{name}+{key_id(name, key, kind=kind).hex()}+{b64encode(kind + key.public_bytes_raw()).decode()}"


def read_verifier_key(text: str, *, kind: bytes = ED25519) -> tuple[str, Ed25519PublicKey]:
    """Return (name, key) of a key that was handed on; raise Refused (MALFORMED)."""
    wrong = refuse(Code.MALFORMED, "ledger key", expected="name+hash+base64 of an Ed25519 key", got=text)
    try:
        name, given, encoded = text.strip().split("+", 2)
        raw = b64decode(encoded, validate=True)
        key = Ed25519PublicKey.from_public_bytes(raw[1:])
    except (ValueError, binascii.Error) as cause:
        raise wrong from cause
    if raw[:1] != kind or key_id(name, key, kind=kind).hex() != given:
        raise wrong
    return name, key


def sign_note(text: str, *, name: str, key: Ed25519PrivateKey) -> bytes:
    """Return the text, an empty line, and one signature line."""
    if not text.endswith("\n") or not name or any(character.isspace() or character == "+" for character in name):
        raise ValueError("note: expected a text that ends in a newline and a name without spaces and plus signs")
    return f"{text}\n{_signature_line(name, key_id(name, key.public_key()) + key.sign(text.encode()))}".encode()


def read_note(raw: bytes) -> Note:
    """Return the note; raise Refused (MALFORMED). Nothing in it is trusted until a signature is checked."""
    try:
        text = raw.decode()
        body, signatures = text[: text.rindex("\n\n") + 1], text[text.rindex("\n\n") + 2 :]
        if any(character < " " and character != "\n" for character in text) or not signatures.endswith("\n"):
            raise ValueError("a control character, or no newline at the end")
        lines = signatures[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise ValueError(f"{len(lines)} signatures")
        return Note(text=body, signatures=tuple(_read_signature_line(line) for line in lines))
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "signed note", expected="a C2SP signed note", got=cause) from cause


def check_note(raw: bytes, *, name: str, key: Ed25519PublicKey) -> Note:
    """Return the note if this key signed it; raise Refused (MALFORMED, BAD_SIGNATURE)."""
    note = read_note(raw)
    ours = [each for each in note.signatures if each[:2] == (name, key_id(name, key))]
    if not ours:
        raise refuse(Code.BAD_SIGNATURE, "signed note", expected=f"a signature of {name}", got=_names(note))
    for _, _, signature in ours:
        _verify(key, signature, note.text.encode(), what="signed note", name=name)
    return note


def _names(note: Note) -> str:
    return ", ".join(f"{name}+{identifier.hex()}" for name, identifier, _ in note.signatures) or "none"


def _signature_line(name: str, signature: bytes) -> str:
    return f"{_DASH}{name} {b64encode(signature).decode()}\n"


def _read_signature_line(line: str) -> tuple[str, bytes, bytes]:
    if not line.startswith(_DASH):
        raise ValueError(f"a line that is no signature: {line[:80]!r}")
    name, encoded = line[len(_DASH) :].split(" ")
    raw = _strict_base64(encoded)
    if not name or "+" in name or len(raw) < 5:
        raise ValueError(f"a line that is no signature: {line[:80]!r}")
    return name, raw[:4], raw[4:]


def _strict_base64(text: str) -> bytes:
    """Decode base64 that has exactly one spelling, so that a changed character is always seen."""
    raw = b64decode(text, validate=True)
    if b64encode(raw).decode() != text:
        raise ValueError(f"base64 in another spelling: {text[:80]!r}")
    return raw


def _verify(key: Ed25519PublicKey, signature: bytes, message: bytes, *, what: str, name: str) -> None:
    try:
        key.verify(signature, message)
    except InvalidSignature as cause:
        raise refuse(Code.BAD_SIGNATURE, what, expected=f"the signature of {name}", got="another") from cause


# --- checkpoints and cosignatures --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a ledger promised at one moment: that its first `size` entries have this root. `note` is the signed text."""

    origin: str
    size: int
    root: bytes
    note: bytes = field(repr=False)


def sign_checkpoint(*, origin: str, size: int, root: bytes, key: Ed25519PrivateKey) -> Checkpoint:
    """Return the signed promise."""
    text = f"{origin}\n{size}\n{b64encode(root).decode()}\n"
    return Checkpoint(origin=origin, size=size, root=root, note=sign_note(text, name=origin, key=key))


def read_checkpoint(raw: bytes, *, origin: str, key: Ed25519PublicKey) -> Checkpoint:
    """Return the checkpoint if this ledger signed it; raise Refused (MALFORMED, BAD_SIGNATURE)."""
    note = check_note(raw, name=origin, key=key)
    try:
        named, size, root, *_ = note.text.split("\n")
        checkpoint = Checkpoint(origin=named, size=_decimal(size), root=_strict_base64(root), note=raw)
    except ValueError as cause:
        raise refuse(Code.MALFORMED, "checkpoint", expected="origin, size and root", got=cause) from cause
    if checkpoint.origin != origin or len(checkpoint.root) != HASH_BYTES:
        raise refuse(Code.BAD_SIGNATURE, "checkpoint", expected=f"one of {origin}", got=checkpoint.origin)
    return checkpoint


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or (text[0] == "0" and text != "0") or len(text) > 19:
        raise ValueError(f"expected a decimal number, got {text[:40]!r}")
    return int(text)


def cosign(note: bytes, *, name: str, key: Ed25519PrivateKey, posix_s: int) -> bytes:
    """Return the note with a witness's line added: at that second this was the largest tree it had seen consistent.

    The witness must itself have checked the consistency with what it saw before (C2SP tlog-cosignature, Ed25519).
    """
    text = read_note(note).text
    signature = posix_s.to_bytes(8, "big") + key.sign(_cosigned(text, posix_s))
    return note + _signature_line(name, key_id(name, key.public_key(), kind=COSIGNATURE) + signature).encode()


def check_cosignature(note: bytes, *, name: str, key: Ed25519PublicKey) -> int:
    """Return the second (POSIX) at which this witness cosigned; raise Refused (BAD_SIGNATURE) when it did not."""
    read = read_note(note)
    ours = [each for each in read.signatures if each[:2] == (name, key_id(name, key, kind=COSIGNATURE))]
    if not ours or len(ours[0][2]) != 72:
        raise refuse(Code.BAD_SIGNATURE, "checkpoint", expected=f"a cosignature of {name}", got=_names(read))
    posix_s = int.from_bytes(ours[0][2][:8], "big")
    _verify(key, ours[0][2][8:], _cosigned(read.text, posix_s), what="cosignature", name=name)
    return posix_s


def _cosigned(text: str, posix_s: int) -> bytes:
    return f"cosignature/v1\ntime {posix_s}\n{text}".encode()


# --- proofs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That an entry stands in a ledger: its index, the path to the root, and the signed checkpoint. Not yet checked."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes = field(repr=False)


def write_proof(proof: Proof) -> bytes:
    """Return the proof as a text (C2SP tlog-proof), to be stored as ``.tlog-proof``."""
    lines = [_PROOF_LINE, f"index {proof.index}", *(b64encode(node).decode() for node in proof.path), ""]
    return "\n".join(lines).encode() + b"\n" + proof.checkpoint


def read_proof(raw: bytes) -> Proof:
    """Return the proof; raise Refused (MALFORMED). Extra data, which nobody signs, is passed over."""
    try:
        head, separator, checkpoint = raw.partition(b"\n\n")
        lines = head.decode().split("\n")
        if not separator or lines.pop(0) != _PROOF_LINE:
            raise ValueError("another first line")
        if lines[0].startswith("extra "):
            lines.pop(0)
        word, _, index = lines.pop(0).partition(" ")
        if word != "index" or len(lines) > 63:
            raise ValueError("no index, or more hashes than a tree can be high")
        path = tuple(_strict_base64(line) for line in lines)
        if any(len(node) != HASH_BYTES for node in path):
            raise ValueError("a hash of another length")
        return Proof(index=_decimal(index), path=path, checkpoint=checkpoint)
    except (ValueError, IndexError) as cause:
        raise refuse(Code.MALFORMED, "ledger proof", expected="a C2SP tlog-proof", got=cause) from cause


def check_proof(
    proof: bytes,
    *,
    leaf: bytes,
    origin: str,
    key: Ed25519PublicKey,
    witnesses: Mapping[str, Ed25519PublicKey] | None = None,
    quorum: int = 0,
) -> Checkpoint:
    """Return the checkpoint that proves that this very entry stands in this ledger; raise Refused otherwise.

    `leaf` is the entry's bytes. At least `quorum` of the witnesses must have cosigned the checkpoint.
    """
    read = read_proof(proof)
    checkpoint = read_checkpoint(read.checkpoint, origin=origin, key=key)
    check_inclusion(leaf_hash(leaf), index=read.index, size=checkpoint.size, path=read.path, root=checkpoint.root)
    saw = [name for name, witness in (witnesses or {}).items() if _cosigned_by(read.checkpoint, name, witness)]
    if len(saw) < quorum:
        raise refuse(Code.BAD_SIGNATURE, "checkpoint", expected=f"{quorum} cosignatures", got=len(saw))
    return checkpoint


def _cosigned_by(note: bytes, name: str, key: Ed25519PublicKey) -> bool:
    try:
        check_cosignature(note, name=name, key=key)
    except Refused:
        return False
    return True

"""libsodium beside `cryptography`: what the receiver lets in, the verifier confirms."""

import random

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.sodium import SodiumKey
from tests.rules.broker.edwards import BASE, ORDER, TORSION, P, Point, add, sign, times, write

SECRET, NONCE = 0x1234567890ABCDEF**4 % ORDER, 0xFEDCBA0987654321**4 % ORDER
A, R = times(SECRET, BASE), times(NONCE, BASE)
SMALL = [times(each, TORSION) for each in range(8)]


def accepts(key: SodiumKey | Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def judged(public: bytes, signature: bytes, message: bytes) -> tuple[bool, bool]:
    """What libsodium says, and what `cryptography` says."""
    return (
        accepts(SodiumKey(public), signature, message),
        accepts(Ed25519PublicKey.from_public_bytes(public), signature, message),
    )


def encodings(point: Point) -> list[bytes]:
    return [write(point), *([write(point, beyond=True)] if point[1] + P < 2**255 else [])]


def test_what_a_key_signed_is_accepted_and_nothing_else() -> None:
    key, dice = Ed25519PrivateKey.generate(), random.Random(1)
    for size in (0, 1, 224, 5000):
        message = dice.randbytes(size)
        whole = key.sign(message) + message
        ours = SodiumKey.of(key.public_key())
        assert accepts(ours, whole[:64], message)
        for bit in dice.sample(range(len(whole) * 8), 100 if size else 512):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            assert not accepts(ours, bytes(flipped[:64]), bytes(flipped[64:]))


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_bytes_do_not_move_between_signature_and_message(length: int) -> None:
    key = Ed25519PrivateKey.generate()
    whole = key.sign(b"x" * 100) + b"x" * 100
    assert not accepts(SodiumKey.of(key.public_key()), whole[:length], whole[length:])


def test_the_same_signature_has_no_second_form() -> None:
    public, message = write(A), b"one form"
    signature = sign(SECRET, NONCE, public, write(R), message)
    assert judged(public, signature, message) == (True, True)
    larger = int.from_bytes(signature[32:], "little") + ORDER
    assert judged(public, signature[:32] + larger.to_bytes(32, "little"), message) == (False, False)


@pytest.mark.parametrize("place", range(1, 8))
def test_an_r_of_mixed_order_is_refused_there_is_no_cofactor(place: int) -> None:
    public, r = write(A), write(add(R, SMALL[place]))
    assert judged(public, sign(SECRET, NONCE, public, r, b"mixed"), b"mixed") == (False, False)


@pytest.mark.parametrize("place", range(8))
def test_a_small_key_or_r_is_refused_and_of_mixed_keys_no_more_is_accepted_than_before(place: int) -> None:
    mixed = write(add(A, SMALL[place]))
    for number in range(8):
        message = bytes([number])
        for small in encodings(SMALL[place]):
            assert not judged(small, sign(0, NONCE, small, write(R), message), message)[0]
            assert not judged(write(A), sign(SECRET, 0, write(A), small, message), message)[0]
        ours, theirs = judged(mixed, sign(SECRET, NONCE, mixed, write(R), message), message)
        assert ours == theirs


def test_a_key_that_is_none_is_refused_where_it_is_read() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SodiumKey(bytes(31))

"""What a security key signs at the desk itself, beside requests and approvals (broker/wire/approvals.py).

Every act has a label of its own, and the page makes the 32 bytes itself from what it was told: nobody can hand a page
a number that is secretly the hash of a viewing request and call it a sign-in.
"""

import hashlib
from typing import Final

NONCE_BYTES: Final = 32

_SIGN_IN_LABEL: Final = b"vo/sign-in/v1\0"
_ENROL_LABEL: Final = b"vo/enrol/v1\0"
_SEAT_LABEL: Final = b"vo/seat/v1\0"


def sign_in_challenge(nonce: bytes) -> bytes:
    """Return what somebody signs to be let in, 32 bytes."""
    return hashlib.sha256(_SIGN_IN_LABEL + _checked(nonce)).digest()


def enrolment_challenge(nonce: bytes) -> bytes:
    """Return what a new key signs when it is registered, 32 bytes."""
    return hashlib.sha256(_ENROL_LABEL + _checked(nonce)).digest()


def seat_challenge(nonce: bytes, room: str) -> bytes:
    """Return what somebody signs to sit down in this room, 32 bytes: being there is an act of the person, not of a
    browser that happens to be signed in.
    """
    return hashlib.sha256(_SEAT_LABEL + _checked(nonce) + room.encode()).digest()


def _checked(nonce: bytes) -> bytes:
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"nonce: expected {NONCE_BYTES} bytes, got {len(nonce)}")
    return nonce

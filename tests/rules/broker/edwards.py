"""The curve of Ed25519 in plain integers (RFC 8032 section 5.1): slow, and able to sign what nobody should."""

import hashlib

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, P - 2, P) % P
_ROOT = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]


def _x(y: int, sign: int) -> int | None:
    square = (y * y - 1) * pow(_D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if (x * x - square) % P == 0 else x * _ROOT % P
    if (x * x - square) % P:
        return None
    return x if x % 2 == sign else P - x


def add(one: Point, two: Point) -> Point:
    (x1, y1), (x2, y2) = one, two
    k = _D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P) % P


def times(number: int, point: Point) -> Point:
    result = (0, 1)
    while number:
        if number & 1:
            result = add(result, point)
        point, number = add(point, point), number >> 1
    return result


def write(point: Point, *, beyond: bool = False) -> bytes:
    """Encode a point; `beyond`: with y + p, where that fits in 255 bits, which is not the canonical way."""
    x, y = point
    return ((y + beyond * P) | (x & 1) << 255).to_bytes(32, "little")


def _torsion() -> Point:
    """Return a point of order 8."""
    for y in range(2, 100):
        x = _x(y, 0)
        if x is not None and times(4, found := times(ORDER, (x, y))) != (0, 1):
            return found
    raise AssertionError


_Y = 4 * pow(5, P - 2, P) % P
BASE: Point = (_x(_Y, 0) or 0, _Y)
TORSION = _torsion()


def sign(secret: int, nonce: int, public: bytes, r: bytes, message: bytes) -> bytes:
    """Return a signature with R and the key as they are given, whatever they should have been."""
    challenge = int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % ORDER
    return r + ((nonce + challenge * secret) % ORDER).to_bytes(32, "little")

"""How a new camera and its municipality come to trust each other, through a dock that neither of them has to trust.

The camera makes its own two keys (Ed25519 to sign footage, P-256 to speak TLS) and a one-time code, which it shows on
its display. What it asks is signed with the one key, proves possession of the other (PKCS 10), and carries a proof of
the code. The coordinator reads the code from the camera and types it at the desk: now the cloud knows whose keys they
are, and answers with a proof of the same code, so that the camera knows whose answer it is. Who carries these letters
learns neither keys nor code: to try codes takes 2**60 times a deliberately slow function.

A renewal is a request signed with the camera's own key, which the municipality knows since its enrolment.
"""

import hashlib
import hmac
from typing import Final, Literal

import msgspec
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.ids import DeviceId, Org, parse_device, parse_org
from broker.wire.refusals import Code, refuse

MAX_LETTER_BYTES: Final = 65_536
"""No letter between a camera and its municipality is longer (a signed key list is the largest part)."""

CODE_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no letter that is mistaken for another."""

CODE_LENGTH: Final = 12
"""60 bits."""

CODE_ENTROPY_BYTES: Final = 8
SALT_BYTES: Final = 16

REQUEST, ANSWER = "enrolment.json", "enrolment.json"
"""Names on the card: in ``to-dock/`` what a new camera asks, in ``from-dock/`` what it is answered."""

RENEWAL, CERTIFICATE = "renewal.json", "certificate.pem"
"""Names on the card: in ``to-dock/`` a request for a new certificate, in ``from-dock/`` the certificate."""

_SCRYPT: Final = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}
"""16 MiB and some 50 ms for each guess (RFC 7914)."""

_ASKS: Final = b"vier-ogen/enrolment/asks/v1\0"
_ANSWERS: Final = b"vier-ogen/enrolment/answers/v1\0"
_RENEWS: Final = b"vier-ogen/enrolment/renews/v1\0"


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new camera asks. `public_key` is raw Ed25519, `csr` PEM for its P-256 key, `salt` 16 random bytes."""

    v: Literal[1] = 1
    public_key: bytes
    csr: bytes
    salt: bytes


class Welcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an enrolled camera is told. Keys are raw Ed25519; `keylist` is the Kluis's signed list as it is now."""

    v: Literal[1] = 1
    org: str
    camera: str
    oin: str
    receipt_key: bytes
    kluis_key: bytes
    command_key: bytes
    keylist: bytes
    ca: str
    certificate: str


class Renewal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A camera's wish for a new certificate for the key in `csr` (PEM)."""

    v: Literal[1] = 1
    org: str
    camera: str
    csr: bytes


class _SignedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    request: msgspec.Raw
    signature: bytes
    proof: bytes


class _ProvenWelcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    welcome: msgspec.Raw
    proof: bytes


class _SignedRenewal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    renewal: msgspec.Raw
    signature: bytes


def new_code(entropy: bytes) -> str:
    """Return a one-time code as a display shows it: ``7K3M-9QX2-A4TN``, from 8 fresh random bytes."""
    if len(entropy) != CODE_ENTROPY_BYTES:
        raise ValueError(f"code: expected {CODE_ENTROPY_BYTES} bytes of entropy, got {len(entropy)}")
    number = int.from_bytes(entropy, "big") >> 4
    letters = "".join(CODE_LETTERS[number >> 5 * place & 31] for place in reversed(range(CODE_LENGTH)))
    return "-".join(letters[start : start + 4] for start in range(0, CODE_LENGTH, 4))


def tidy_code(typed: str) -> str:
    """Return the code that was meant, as people type it; raise Refused (MALFORMED)."""
    letters = typed.upper().translate({**dict.fromkeys(map(ord, "- \t"), None), ord("O"): "0"})
    letters = letters.replace("I", "1").replace("L", "1")
    if len(letters) != CODE_LENGTH or any(letter not in CODE_LETTERS for letter in letters):
        raise refuse(Code.MALFORMED, "code", expected=f"the {CODE_LENGTH} characters on the camera", got="others")
    return letters


class Asked:
    """A camera's request that is what it says: signed by the key it names."""

    def __init__(self, raw: bytes, body: bytes, request: Request, proof: bytes) -> None:
        self.raw: Final = raw
        self.request: Final = request
        self._body = body
        self._proof = proof

    @property
    def name(self) -> str:
        """SHA-256 of the letter: the same letter always has the same name."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def key(self) -> Ed25519PublicKey:
        """The camera's signing key."""
        return Ed25519PublicKey.from_public_bytes(self.request.public_key)

    def is_shown(self, code: str) -> bool:
        """Whether this is the code that this camera shows. Slow on purpose: call it in a thread."""
        return hmac.compare_digest(self._proof, _proof(_stretched(code, self.request.salt), _ASKS, self._body))

    def answer(self, welcome: Welcome, *, code: str) -> bytes:
        """Return the letter that only this camera believes."""
        body = rfc8785.dumps(msgspec.to_builtins(welcome))
        key = _stretched(code, self.request.salt)
        return msgspec.json.encode(_ProvenWelcome(msgspec.Raw(body), _proof(key, _ANSWERS + self._body, body)))


def make_request(key: Ed25519PrivateKey, csr: bytes, *, code: str, salt: bytes) -> bytes:
    """Return what a new camera asks."""
    request = Request(public_key=key.public_key().public_bytes_raw(), csr=csr, salt=salt)
    body = rfc8785.dumps(msgspec.to_builtins(request))
    proof = _proof(_stretched(code, salt), _ASKS, body)
    return msgspec.json.encode(_SignedRequest(msgspec.Raw(body), key.sign(_ASKS + body), proof))


def read_request(raw: bytes) -> Asked:
    """Return what a new camera asks; raise Refused (MALFORMED, TOO_LARGE, BAD_SIGNATURE)."""
    _check_size(raw)
    try:
        signed = msgspec.json.decode(raw, type=_SignedRequest)
        body = bytes(signed.request)
        request = msgspec.json.decode(body, type=Request)
        Ed25519PublicKey.from_public_bytes(request.public_key).verify(signed.signature, _ASKS + body)
    except InvalidSignature as cause:
        raise refuse(Code.BAD_SIGNATURE, "enrolment", expected="the signature of its own key", got="another") from cause
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "enrolment", expected="a new camera's request", got=cause) from cause
    if len(request.salt) != SALT_BYTES:
        raise refuse(Code.MALFORMED, "enrolment", expected=f"{SALT_BYTES} bytes of salt", got=len(request.salt))
    return Asked(raw, body, request, signed.proof)


def read_answer(raw: bytes, asked: bytes, *, code: str) -> Welcome:
    """Return what the municipality answers to the request `asked`, if it knew our code.

    Raises Refused (MALFORMED, TOO_LARGE, BAD_SIGNATURE).
    """
    _check_size(raw)
    question = read_request(asked)
    try:
        proven = msgspec.json.decode(raw, type=_ProvenWelcome)
        body = bytes(proven.welcome)
        welcome = msgspec.json.decode(body, type=Welcome)
        parse_org(welcome.org)
        parse_device(welcome.camera)
        for key in (welcome.receipt_key, welcome.kluis_key, welcome.command_key):
            Ed25519PublicKey.from_public_bytes(key)
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "enrolment", expected="an answer to our request", got=cause) from cause
    right = _proof(_stretched(code, question.request.salt), _ANSWERS + question._body, body)  # noqa: SLF001 - ours
    if not hmac.compare_digest(proven.proof, right):
        raise refuse(Code.BAD_SIGNATURE, "enrolment", expected="an answer by who was told our code", got="another")
    return welcome


class Renewing:
    """A wish for a new certificate, as it came."""

    def __init__(self, renewal: Renewal, body: bytes, signature: bytes) -> None:
        self.renewal: Final = renewal
        self._body = body
        self._signature = signature

    @property
    def camera(self) -> DeviceId:
        """Who wishes it, by its own word."""
        return DeviceId(self.renewal.camera)

    def check(self, key: Ed25519PublicKey) -> None:
        """Return if the holder of this key signed it; raise Refused (BAD_SIGNATURE)."""
        try:
            key.verify(self._signature, _RENEWS + self._body)
        except InvalidSignature as cause:
            raise refuse(
                Code.BAD_SIGNATURE, "renewal", expected="the signature of the enrolled key", got="another"
            ) from cause


def make_renewal(key: Ed25519PrivateKey, csr: bytes, *, org: Org, camera: DeviceId) -> bytes:
    """Return a camera's wish for a new certificate."""
    body = rfc8785.dumps(msgspec.to_builtins(Renewal(org=org, camera=camera, csr=csr)))
    return msgspec.json.encode(_SignedRenewal(msgspec.Raw(body), key.sign(_RENEWS + body)))


def read_renewal(raw: bytes) -> Renewing:
    """Return the wish, not checked yet; raise Refused (MALFORMED, TOO_LARGE)."""
    _check_size(raw)
    try:
        signed = msgspec.json.decode(raw, type=_SignedRenewal)
        renewal = msgspec.json.decode(signed.renewal, type=Renewal)
        parse_org(renewal.org)
        parse_device(renewal.camera)
    except (msgspec.DecodeError, ValueError, RecursionError) as cause:
        raise refuse(Code.MALFORMED, "renewal", expected="a camera's signed request", got=cause) from cause
    return Renewing(renewal, bytes(signed.renewal), signed.signature)


def _check_size(raw: bytes) -> None:
    if len(raw) > MAX_LETTER_BYTES:
        raise refuse(Code.TOO_LARGE, "letter", expected=f"at most {MAX_LETTER_BYTES} bytes", got=len(raw))


def _stretched(code: str, salt: bytes) -> bytes:
    return hashlib.scrypt(tidy_code(code).encode(), salt=salt, **_SCRYPT)


def _proof(key: bytes, label: bytes, body: bytes) -> bytes:
    return hmac.digest(key, label + hashlib.sha256(body).digest(), "sha256")

"""Signed orders from the cloud to one camera, and when a camera obeys them.

Only *start* and *locate* exist. Nothing can stop a recording, erase, or change a setting from afar, so the worst that a
stolen command key can do is to make a camera record, visibly and in the ledger.

What is signed (Ed25519 by the municipality's command key), big-endian, 104 bytes::

    21  label       "vier-ogen/command/v1" and a zero byte
    16  tenant      ids.tenant_id(org)
    16  camera      SHA-256 of "vier-ogen/command/camera/v1", a zero byte and the camera's id, shortened
    16  command     UUID
     1  order       1 start, 2 locate
     8  counter     rises with each order to this camera; the camera remembers the highest it obeyed, also over a reboot
     8  issued_at   microseconds since 1970, UTC
     8  expires_at  microseconds since 1970, UTC
    10  reserved    zero
"""

import hashlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final, Literal
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.wire.events import Command
from broker.wire.ids import DeviceId, Org, tenant_id

LONGEST_LIFE: Final = timedelta(seconds=60)
"""An order is for now: who reads it a minute later should not act on it."""

AHEAD: Final = timedelta(seconds=5)
"""How far the cloud's clock may run ahead of the camera's; a camera sets its clock at each docking."""

_LABEL: Final = b"vier-ogen/command/v1\0"
_CAMERA_LABEL: Final = b"vier-ogen/command/camera/v1\0"
_ORDERS: Final[dict[str, int]] = {"start": 1, "locate": 2}
_FIELDS: Final = struct.Struct(">16s16s16sBQQQ10x")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Answer(Enum):
    """What a camera does with an order. Value: (obeys, why, waarom)."""

    OBEY = (True, "signed, fresh and new", "ondertekend, vers en nieuw")
    FORGED = (False, "not signed for this camera by this municipality", "niet ondertekend voor deze camera")
    RETAINED = (False, "kept by the broker: an order is never kept", "bewaard door de broker: een opdracht niet")
    EXPIRED = (False, "its time is over", "de geldigheid is voorbij")
    TOO_LONG = (False, "valid for longer than a minute", "langer dan een minuut geldig")
    NOT_YET = (False, "issued in this camera's future: a clock is wrong", "gegeven in de toekomst: een klok loopt fout")
    BEFORE_BOOT = (False, "issued before this camera was switched on", "gegeven voordat deze camera aanging")
    REPLAYED = (False, "obeyed before", "al eerder uitgevoerd")
    REORDERED = (False, "a later order was obeyed before it", "een latere opdracht ging voor")

    @property
    def obeys(self) -> bool:
        """Whether the camera does it."""
        return self.value[0]

    @property
    def because(self) -> str:
        """Why, in English."""
        return self.value[1]

    @property
    def waarom(self) -> str:
        """Why, in Dutch."""
        return self.value[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What a camera knows when an order comes. `highest` is durable: 0 on a new camera, kept over reboots."""

    org: Org
    camera: DeviceId
    key: Ed25519PublicKey
    booted_at: datetime
    highest: int


def give(
    order: Literal["start", "locate"],
    *,
    command: UUID,
    org: Org,
    camera: DeviceId,
    counter: int,
    issued_at: datetime,
    expires_at: datetime,
    key: Ed25519PrivateKey,
) -> Command:
    """Return the signed order. Raises ValueError for one that no camera would obey."""
    if counter < 1:
        raise ValueError(f"command: expected a counter from 1, got {counter}")
    if not timedelta(0) < expires_at - issued_at <= LONGEST_LIFE:
        raise ValueError(f"command: expected to live at most {LONGEST_LIFE}, got {expires_at - issued_at}")
    unsigned = Command(
        command=command, order=order, counter=counter, issued_at=issued_at, expires_at=expires_at, signature=b""
    )
    return Command(
        command=command,
        order=order,
        counter=counter,
        issued_at=issued_at,
        expires_at=expires_at,
        signature=key.sign(signed_bytes(unsigned, org=org, camera=camera)),
    )


def judge(command: Command, listener: Listener, *, retained: bool, now: datetime) -> Answer:
    """Return whether this camera obeys, or why not. After OBEY: store the counter durably, then act.

    The signature is looked at first: of a forged order nothing else is worth knowing.
    """
    if not _signed(command, listener):
        return Answer.FORGED
    if retained:
        return Answer.RETAINED
    if command.counter == listener.highest:
        return Answer.REPLAYED
    if command.counter < listener.highest:
        return Answer.REORDERED
    if command.expires_at - command.issued_at > LONGEST_LIFE:
        return Answer.TOO_LONG
    if command.issued_at > now + AHEAD:
        return Answer.NOT_YET
    if command.expires_at <= now:
        return Answer.EXPIRED
    if command.issued_at < listener.booted_at:
        return Answer.BEFORE_BOOT
    return Answer.OBEY


def signed_bytes(command: Command, *, org: Org, camera: DeviceId) -> bytes:
    """Return the bytes under the signature, in the layout above; raise ValueError for a counter or time outside it."""
    try:
        return _LABEL + _FIELDS.pack(
            tenant_id(org),
            hashlib.sha256(_CAMERA_LABEL + camera.encode()).digest()[:16],
            command.command.bytes,
            _ORDERS[command.order],
            command.counter,
            (command.issued_at - _EPOCH) // _MICROSECOND,
            (command.expires_at - _EPOCH) // _MICROSECOND,
        )
    except (struct.error, TypeError) as cause:
        raise ValueError(f"command: expected a counter and UTC times of 64 bits, got {cause}") from cause


def _signed(command: Command, listener: Listener) -> bool:
    try:
        body = signed_bytes(command, org=listener.org, camera=listener.camera)
        listener.key.verify(command.signature, body)
    except (InvalidSignature, ValueError):
        return False
    return True

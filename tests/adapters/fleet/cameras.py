"""Cameras whose voice is edge's own: its link, its outbox, its settings and its way of repeating itself."""

import secrets
import time
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client import Endpoint
from broker.wire.events import Activation, CameraSettings, CameraState, Command, Telemetry
from broker.wire.ids import DeviceId, uuid7
from edge.enrolment import Enrolment
from edge.link import Camera, Link
from edge.outbox import Outbox
from edge.pulse import Pulse
from edge.threads import Threads
from tests.adapters.fleet.conftest import OIN, ORG, Town

THREADS = Threads(2)


@dataclass
class Spoken:
    """What a camera was told, and what it is."""

    settings: list[CameraSettings] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    pressed: list[UUID] = field(default_factory=list)
    boot: str = "boot-1"

    @property
    def version(self) -> int:
        return self.settings[-1].version if self.settings else 0

    async def take(self, settings: CameraSettings) -> None:
        self.settings.append(settings)

    async def obey(self, command: Command, kept: bool) -> None:  # noqa: ARG002 - as the link calls it
        self.commands.append(command)

    def press(self, at: datetime) -> Activation:
        recording = uuid7(at, secrets.token_bytes(10))
        self.pressed.append(recording)
        return Activation(recording=recording, activated_at=at, pre_record_s=30.0)

    def state(self) -> CameraState:
        return CameraState(
            status="standby",
            boot=self.boot,
            buffering=bool(self.settings),
            battery_pct=80,
            card_free_pct=90,
            settings_version=self.version,
        )

    def telemetry(self) -> Telemetry:
        return Telemetry(battery_pct=80, card_free_pct=90, temperature_c=24.0, clock_offset_ms=0)


def edge_link(town: Town, camera: DeviceId, *, endpoint: Endpoint, outbox: Outbox, spoken: Spoken, **rest: Any) -> Link:
    """One camera's link over this endpoint. `run` it; `tell` it what happened."""
    key = b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
    return Link(
        enrolment=Enrolment(org=ORG, camera=camera, oin=OIN, receipt_key=key, kluis_key=key, command_key=key),
        endpoint=endpoint,
        outbox=outbox,
        camera=Camera(state=spoken.state, telemetry=spoken.telemetry, settings=spoken.take, obey=spoken.obey),
        boot=spoken.boot,
        clock=town.clock,
        pulse=Pulse(time.monotonic, lambda: 1.0),
        threads=THREADS,
        **rest,
    )

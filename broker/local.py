"""A broker of one municipality that runs as our child, whichever program it is."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ClassVar, Literal, Self

from broker.child import BrokerError, Child, Program
from broker.client import Endpoint
from broker.identities import LOOPBACK, Authority, Credentials, names_in
from broker.rules.access import Rights, Role
from broker.wire.ids import DeviceId, Org

May = Callable[[Role, Org, DeviceId], Rights]
"""What an identity may do: `broker.rules.access.rights`, and a test's own."""


class LocalBroker(ABC):
    """A running broker. Started anew when it dies; ends with us. It listens on `host` and `port` (MQTT over mTLS)."""

    protocol: ClassVar[Literal["3.1.1", "5"]] = "3.1.1"
    """The MQTT that its endpoints speak."""

    def __init__(self, *, identities: Authority, host: str, port: int, may: May) -> None:
        self._identities, self._may = identities, may
        self.host, self.port = host, port
        self._child: Child | None = None

    @abstractmethod
    async def apply(self) -> None:
        """Serve exactly the identities that are registered now; who is revoked has no rights any more."""

    @abstractmethod
    async def _prepare(self) -> None:
        """Write the configuration, before each start."""

    @property
    def pid(self) -> int:
        """The process that serves now."""
        return self._running.pid

    @property
    def restarts(self) -> int:
        """How often it died and came back."""
        return self._running.restarts

    def endpoint(self, device: str) -> Endpoint:
        """Return the endpoint for an identity whose key was made here."""
        own = self._identities.credentials(device)
        return Endpoint(
            host=self.host,
            port=self.port,
            ca=own.ca,
            certificate=own.certificate,
            key=own.key,
            protocol=self.protocol,
        )

    async def revoke(self, device: str) -> None:
        """End an identity for ever, and let the broker know now; `apply` says what becomes of its connection."""
        await asyncio.to_thread(self._identities.revoke, device)
        await self.apply()

    @asynccontextmanager
    async def _serving(self, program: Program) -> AsyncIterator[Self]:
        """Run the program until the end of the block; raise BrokerError when it does not come up."""
        async with Child.running(program, prepare=self._prepare) as child:
            self._child = child
            yield self

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise BrokerError("broker: not running")
        return self._child


def server_credentials(identities: Authority, name: str, host: str) -> Credentials:
    """Return the broker's own certificate, made anew when it lacks this host or is past two thirds of its life."""
    credentials = identities.credentials(name)
    present = credentials.certificate
    if present.exists() and host in names_in(present) and not identities.renewal_due(present):
        return credentials
    return identities.issue_server(name, Role.BROKER, names=tuple(dict.fromkeys((host, *LOOPBACK))))

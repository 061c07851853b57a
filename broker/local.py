"""A broker of one municipality that runs as our child, whichever program it is."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from broker.child import BrokerError, Child, Program, choose_port
from broker.client import Endpoint
from broker.identities import LOOPBACK, Authority, Credentials, names_in
from broker.rules.access import Rights, Role, rights
from broker.wire.ids import DeviceId, Org

May = Callable[[Role, Org, DeviceId], Rights]
"""What an identity may do: `broker.rules.access.rights`, and a test's own."""


class LocalBroker(ABC):
    """A running broker. Started anew when it dies; ends with us. It listens on `host` and `port` (MQTT over mTLS)."""

    protocol: ClassVar[Literal["3.1.1", "5"]] = "3.1.1"
    """The MQTT that its endpoints speak."""

    def __init__(
        self,
        folder: Path,
        *,
        identities: Authority,
        credentials: Credentials,
        name: str,
        host: str,
        port: int,
        may: May,
    ) -> None:
        """`credentials` are the broker's own; its files and its store lie in `folder`."""
        self.folder, self.name, self.host, self.port = folder, name, host, port
        self._identities, self._credentials, self._may = identities, credentials, may
        self._child: Child | None = None
        self._turn, self._applying = asyncio.Lock(), asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        folder: Path,
        *,
        identities: Authority,
        port: int,
        host: str = "127.0.0.1",
        name: str = "broker",
        may: May = rights,
        **own: Any,
    ) -> AsyncIterator[Self]:
        """Run a broker for this municipality with its files in `folder`; yield it when cameras can connect.

        `port` 0 takes a free one. Other hosts than loopback only when told so. `may` says what an identity may do;
        `own` is what only this program knows. Raises BrokerError (not installed, port in use, configuration refused).
        """
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        credentials = await asyncio.to_thread(server_credentials, identities, name, host)
        port = choose_port(host, port)
        broker = cls(
            folder, identities=identities, credentials=credentials, name=name, host=host, port=port, may=may, **own
        )
        async with Child.running(await broker._program(), prepare=broker._prepare) as child:
            broker._child = child
            async with broker._meanwhile():
                yield broker

    @abstractmethod
    async def _program(self) -> Program:
        """Return what is run; raise BrokerError where it is not installed."""

    @abstractmethod
    async def apply(self) -> None:
        """Serve exactly the identities that are registered now; who is revoked has no rights any more."""

    async def _prepare(self) -> None:
        """Write the configuration: before each start, and when identities change."""
        async with self._turn:
            await asyncio.to_thread(self._write)

    @abstractmethod
    def _write(self) -> None:
        """Write the configuration for the identities that are registered now."""

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
    async def _meanwhile(self) -> AsyncIterator[None]:
        """Do what is to be done as long as it serves."""
        yield

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

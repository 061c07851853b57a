"""Mosquitto 2 as the broker of one production node: its configuration, from the same registry and table.

MQTT 5 and the fastest; but what it acknowledged is on disk only every minute, so a camera's outbox is what keeps an
event. Both identity options are on: the certificate's name is the user, and the session belongs to it whatever client
id was sent. What this broker cannot do, measured on 2.0.11:

- close the connection of a revoked identity: it stays, deaf and mute, since its rights are gone at once.
- refuse a subscription: it grants any filter, and delivers what the identity may read.
- reload 20,000 identities without pausing for three seconds.
"""

import argparse
import getpass
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker.child import BrokerError, Program
from broker.durable import replace
from broker.identities import Authority, Credentials, Registry
from broker.local import LocalBroker, May, server_credentials
from broker.rules.access import rights
from broker.wire.events import MAX_EVENT_BYTES

MQTT_PORT: Final = 8883
HOME: Final = Path("/etc/mosquitto/vier-ogen")
"""Where the files lie on the node; the store is a folder below it."""

_PACKET_BYTES: Final = 2 * MAX_EVENT_BYTES

_CONFIGURATION: Final = """\
# Written from the registry of identities. Changes here are lost.
per_listener_settings false
user {user}
listener {port} {host}
cafile {ca}
certfile {certificate}
keyfile {key}
crlfile {crl}
tls_version tlsv1.2
require_certificate true
# The certificate's common name is the user, and the session is the certificate's, whatever client id was sent.
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {acl}
# The defaults (20 and 1000) drop acknowledged messages for a slow subscriber without a word.
max_inflight_messages 100
max_queued_messages 100000
max_queued_bytes 268435456
message_size_limit {message_bytes}
max_packet_size {packet_bytes}
persistent_client_expiration 14d
persistence true
persistence_location {store}/
autosave_interval 60
log_dest file {log}
log_type error
log_type warning
log_type notice
log_type information
connection_messages false
"""


def find_mosquitto() -> str:
    """Return this machine's mosquitto; raise BrokerError when it has none."""
    binary = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
    if binary is None:
        raise BrokerError("mosquitto: not installed; apt install mosquitto")
    return binary


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where a Mosquitto reads and writes."""

    folder: Path
    credentials: Credentials
    crl: Path

    @property
    def configuration(self) -> Path:
        """Given to ``mosquitto -c``."""
        return self.folder / "mosquitto.conf"

    @property
    def acl(self) -> Path:
        """The rights of each identity."""
        return self.folder / "acl.txt"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "mosquitto.log"


def configuration(files: Files, *, host: str, port: int, user: str) -> str:
    """Return mosquitto.conf. `user` is whom it becomes when it was started by root; the key must be theirs."""
    return _CONFIGURATION.format(
        user=user,
        host=host,
        port=port,
        ca=files.credentials.ca,
        certificate=files.credentials.certificate,
        key=files.credentials.key,
        crl=files.crl,
        acl=files.acl,
        store=files.folder / "store",
        log=files.log,
        message_bytes=MAX_EVENT_BYTES,
        packet_bytes=_PACKET_BYTES,
    )


def acl(registry: Registry, *, may: May = rights) -> str:
    """Return the access list: each current identity by name, with its own topics. Who is not in it may do nothing."""
    lines = ["# Written from the registry of identities. Changes here are lost."]
    for identity in registry.current():
        allowed = may(identity.role, registry.org, identity.id)
        lines += [
            "",
            f"user {identity.id}",
            *(f"topic write {pattern}" for pattern in allowed.publish),
            *(f"topic read {pattern}" for pattern in allowed.subscribe),
        ]
    return "\n".join(lines) + "\n"


def write(authority: Authority, out: Path, *, host: str) -> Path:
    """Write configuration, rights, certificate, key (0600) and CRL for Mosquitto on `host`; return the configuration.

    They go to `HOME` there, the key owned by `mosquitto`. Run it again after each enrolment and revocation and at least
    each month (the CRL ends), and reload.
    """
    out.mkdir(parents=True, exist_ok=True)
    own = server_credentials(authority, "broker", host)
    files = Files(
        folder=HOME,
        credentials=Credentials(ca=HOME / "ca.crt", certificate=HOME / "cert.pem", key=HOME / "key.pem"),
        crl=HOME / "crl.pem",
    )
    for source, name in ((own.ca, "ca.crt"), (own.certificate, "cert.pem"), (authority.crl(), "crl.pem")):
        (out / name).write_bytes(source.read_bytes())
    for name, content in (("key.pem", own.key.read_bytes()), ("acl.txt", acl(authority.registry).encode())):
        (out / name).touch(mode=0o600)
        (out / name).write_bytes(content)
    path = out / files.configuration.name
    path.write_text(configuration(files, host="0.0.0.0", port=MQTT_PORT, user="mosquitto"))  # noqa: S104 - mTLS for all
    return path


class MosquittoBroker(LocalBroker):
    """A running Mosquitto. A revoked identity's connection stays open, without any right."""

    protocol = "5"

    def __init__(self, folder: Path, **rest: Any) -> None:
        super().__init__(folder, **rest)
        self._files = Files(folder=folder, credentials=self._credentials, crl=self._identities.folder / "crl.pem")

    async def _program(self) -> Program:
        return Program(
            name=f"mosquitto[{self._identities.org}-{self.name}]",
            arguments=(find_mosquitto(), "-c", str(self._files.configuration)),
            log=self._files.log,
            ready=" running",
        )

    async def apply(self) -> None:
        """Serve exactly the identities that are registered now; those that are revoked lose all rights at once."""
        async with self._applying:
            await self._prepare()
            await self._running.reload(answered_by="Reloading config")

    def _write(self) -> None:
        (self.folder / "store").mkdir(exist_ok=True)
        self._identities.crl()
        text = configuration(self._files, host=self.host, port=self.port, user=getpass.getuser())
        replace(self._files.configuration, text.encode())
        replace(self._files.acl, acl(self._identities.registry, may=self._may).encode())


def main() -> None:
    """Write the files of one node."""
    parser = argparse.ArgumentParser(prog="python -m broker.mosquitto", description=main.__doc__)
    parser.add_argument("pki", type=Path, help="folder of the municipality's authority")
    parser.add_argument("out", type=Path, help="where the files are written")
    parser.add_argument("host", help="the name by which cameras reach the node")
    given = parser.parse_args()
    write(Authority.open(given.pki), given.out, host=given.host)


if __name__ == "__main__":
    main()

"""Three nats-servers as one broker: their configurations, from the same registry and table as the embedded one.

``python -m broker.cluster pki/ out/ HOST HOST HOST`` writes a folder per host; deploy/nats-cluster/README.md goes on.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from broker.embedded import Cluster, Node, configuration
from broker.identities import Authority, Credentials
from broker.local import server_credentials

MQTT_PORT: Final = 8883
ROUTE_PORT: Final = 6222
HOME: Final = Path("/etc/vier-ogen-broker")
"""Where the folder of a host is put on that host."""

STORE: Final = Path("/var/lib/vier-ogen-broker")
LOG: Final = Path("/var/log/vier-ogen-broker/nats.log")


def write(authority: Authority, out: Path, *, hosts: Sequence[str]) -> list[Path]:
    """Write for each host its configuration, certificate and key (0600); return the configurations.

    Each host is a full name: a name with a dot can never be a device's. Raises ValueError otherwise.
    Run it again after each enrolment and revocation, and reload the nodes. Certificates are renewed at two thirds.
    """
    for host in hosts:
        if "." not in host or host.replace(".", "").isdigit():
            raise ValueError(f"cluster: expected a full host name such as mqtt-1.example.org, got {host!r}")
    routes = tuple(f"{host}:{ROUTE_PORT}" for host in hosts)
    written: list[Path] = []
    for number, host in enumerate(hosts, start=1):
        folder = out / host.split(".")[0]
        folder.mkdir(parents=True, exist_ok=True)
        files = server_credentials(authority, f"broker-{number}", host)
        for source, name, mode in ((files.ca, "ca.crt", 0o644), (files.certificate, "cert.pem", 0o644)):
            (folder / name).write_bytes(source.read_bytes())
            (folder / name).chmod(mode)
        key = folder / "key.pem"
        key.touch(mode=0o600)
        key.write_bytes(files.key.read_bytes())
        node = Node(
            name=f"{authority.org}-{folder.name}",
            host="0.0.0.0",  # noqa: S104 - a node serves the network; mTLS is asked of everybody
            port=MQTT_PORT,
            store=STORE,
            credentials=Credentials(ca=HOME / "ca.crt", certificate=HOME / "cert.pem", key=HOME / "key.pem"),
            cluster=Cluster(name=str(authority.org), host="0.0.0.0", port=ROUTE_PORT, routes=routes),  # noqa: S104
        )
        path = folder / "nats.conf"
        path.write_text(configuration(authority.registry, node, log=LOG))
        written.append(path)
    return written


def main() -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(prog="python -m broker.cluster", description=main.__doc__)
    parser.add_argument("pki", type=Path, help="folder of the municipality's authority")
    parser.add_argument("out", type=Path, help="where a folder per host is written")
    parser.add_argument("hosts", nargs=3, help="the names by which cameras and nodes reach each node")
    given = parser.parse_args()
    write(Authority.open(given.pki), given.out, hosts=given.hosts)


if __name__ == "__main__":
    main()

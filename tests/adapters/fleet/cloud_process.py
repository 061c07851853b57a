"""The fleet of a town as a process of its own, to be killed: ``python -m tests.adapters.fleet.cloud_process``."""

import asyncio
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client import Endpoint
from broker.clock import DemonstrationClock
from cloud.casework.policies import Policies
from cloud.database.engine import Database
from cloud.fleet.link import FleetLink
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet
from cloud.ledger.log import Ledger
from tests.adapters.database.postgresql import address_of
from tests.adapters.fleet.conftest import OIN, ORG
from tests.adapters.fleet.test_link import FLEET


async def serve(folder: Path, port: int) -> None:
    """Hear cameras until somebody kills this."""
    database = Database(address_of(folder / "town.sqlite"))
    key = Ed25519PrivateKey.from_private_bytes((folder / "ledger.key").read_bytes())
    ledger = Ledger.open(folder / "ledger", origin="test/ledger", key=key)
    clock = DemonstrationClock(folder / "clock.json")
    fleet = Fleet(database, ledger, LiveHub(), Policies(database), clock)
    pki = folder / "pki"
    endpoint = Endpoint(
        host="127.0.0.1",
        port=port,
        ca=pki / "ca.crt",
        certificate=pki / FLEET / "cert.pem",
        key=pki / FLEET / "key.pem",
    )
    link = FleetLink(fleet, org=ORG, oin=OIN, service=FLEET, endpoint=endpoint, clock=clock)
    await link.run()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))

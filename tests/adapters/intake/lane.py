"""A lane beside a test's receiver: ``python -m tests.adapters.intake.lane FOLDER PORT``, started by `Town.serving`."""

import asyncio
import sys
from pathlib import Path

from broker.identities import Authority
from cloud.intake.bodies import Limits
from cloud.intake.doors import server_tls
from cloud.intake.lanes import serve_lane, share
from cloud.vault.store import Vault
from tests.adapters.intake.town import ORG


async def serve(folder: Path, port: int) -> None:
    server = Authority.open(folder / "pki").credentials("svc-receiver")
    await serve_lane(
        org=ORG,
        host="127.0.0.1",
        port=port,
        tls=server_tls(ca=server.ca, certificate=server.certificate, key=server.key),
        vault=Vault.join(folder / "vault"),
        folder=folder / "lanes",
        limits=share(Limits(), processes=2),
    )


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))

"""A certified OpenID provider (oidc-provider, from npm) as the identity provider of a municipality."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers import from_npm
from tests.ports import free_port

HERE = Path(__file__).parent
CLIENT = "vier-ogen"
SECRET = "a-secret-of-the-tests-that-is-long-enough"


@dataclass(kw_only=True)
class RunningProvider:
    """The provider at its address, another site than the desk: `127.0.0.1`, not `localhost`."""

    issuer: str
    process: asyncio.subprocess.Process

    async def stop(self) -> None:
        """Let the provider be away."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def open_provider(origin: str) -> AsyncIterator[RunningProvider]:
    """Run the provider for a desk at `origin`; raise Unavailable with the reason where it cannot be had."""
    folder = await asyncio.to_thread(from_npm, HERE, "provider.mjs")
    port = str(free_port())
    process = await asyncio.create_subprocess_exec(
        "node", "provider.mjs", port, f"{origin}/aanmelden/terug", f"{origin}/aanmelden",
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    running = RunningProvider(issuer=f"http://127.0.0.1:{port}", process=process)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            said = await process.stdout.readline()
        assert said == b"open\n", said
        yield running
    finally:
        await running.stop()

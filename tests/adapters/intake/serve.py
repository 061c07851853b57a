"""The receiver of a test's town as a process of its own, to be killed: ``python -m tests.adapters.intake.serve``."""

import asyncio
import sys
from pathlib import Path

from tests.adapters.intake.town import Town


async def serve(folder: Path, port: int) -> None:
    town = Town(folder)
    await town.open()
    async with town.serving(port=port):
        (folder / "serving").write_text(str(town.port))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))

"""The receiver of a test's town as a process of its own, to be killed.

``python -m tests.adapters.intake.serve FOLDER PORT [PROCESSES]``
"""

import asyncio
import sys
from pathlib import Path

from tests.adapters.intake.town import Town, holders


async def serve(folder: Path, port: int, processes: int = 1) -> None:
    town = Town(folder, processes=processes)
    await town.open()
    async with town.serving(port=port):
        while holders(town.port) < processes:
            await asyncio.sleep(0.02)
        (folder / "serving").write_text(str(town.port))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), *map(int, sys.argv[2:])))

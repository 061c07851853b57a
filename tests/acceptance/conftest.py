"""Both municipalities, open for as long as a module of tests lasts; each module on a loop of its own."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.acceptance.town import Town, open_town


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a local socket."""
    made = Path(tempfile.mkdtemp(prefix="vo-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def heusden(short_folder: Path) -> AsyncIterator[Town]:
    async with open_town(short_folder, "heusden") as town:
        yield town


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rotterdam(short_folder: Path) -> AsyncIterator[Town]:
    async with open_town(short_folder, "rotterdam") as town:
        yield town

"""Towns with footage in a vault and keys in a Kluis."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.casework.office import Town, founded
from tests.adapters.retention.means import CertifyingKluis, RememberingVault


@pytest.fixture
async def towns(tmp_path: Path) -> AsyncIterator[tuple[Town, Town]]:
    async with founded(tmp_path) as both:
        yield both


@pytest.fixture
def heusden(towns: tuple[Town, Town]) -> Town:
    return towns[0]


@pytest.fixture
def rotterdam(towns: tuple[Town, Town]) -> Town:
    return towns[1]


@pytest.fixture
def kluis() -> CertifyingKluis:
    return CertifyingKluis()


@pytest.fixture
def vault() -> RememberingVault:
    return RememberingVault()

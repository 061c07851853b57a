"""The writers make the vault smaller to look at more states of it: no other test may see that."""

from collections.abc import Iterator

import pytest

from tests.adapters.crash.writers import full_size_afterwards


@pytest.fixture(autouse=True)
def vault_of_full_size_afterwards() -> Iterator[None]:
    with full_size_afterwards():
        yield

"""The writers make the vault smaller to look at more states of it: no other test may see that."""

import os
from collections.abc import Iterator

import pytest

from cloud.vault import shelf, store

SHRUNK = (
    (shelf, "_prefixes"),
    (shelf, "DISK_WRITE_BYTES"),
    (shelf, "sync_folder"),
    (shelf, "sync_everything"),
    (store, "PIECE_BYTES"),
    (os, "fsync"),
)


@pytest.fixture(autouse=True)
def vault_of_full_size_afterwards() -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, name in SHRUNK]
    yield
    for module, name, value in before:
        setattr(module, name, value)

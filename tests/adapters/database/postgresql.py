"""A PostgreSQL server of the tests' own, and the switch that lets every test use it.

`VIEROGEN_TEST_DATABASE=postgresql pytest tests/adapters/{casework,retention,intake,fleet}` runs what otherwise runs on
SQLite; some tests are about SQLite's file itself and say so.
"""

import atexit
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SWITCH = "VIEROGEN_TEST_DATABASE"
"""Empty: SQLite. ``postgresql``: a server of our own. Anything else: the folder of the socket of one that runs."""

PATIENCE_S = 300
"""A busy machine takes long to make and start a server."""

only_on_sqlite = pytest.mark.skipif(bool(os.environ.get(SWITCH)), reason="is about the file that SQLite keeps")


def address_of(file: Path) -> str:
    """Return the address of the database that is this file; with the switch, of the one that stands in for it."""
    if not switched():
        return f"sqlite+aiosqlite:///{file}"
    folder = server() if os.environ[SWITCH] == "postgresql" else Path(os.environ[SWITCH])
    os.environ[SWITCH] = str(folder)  # for the processes that a test starts
    return new_database(folder, name=f"t{hashlib.sha256(str(file).encode()).hexdigest()[:20]}")


def switched() -> bool:
    """Whether the tests run on PostgreSQL."""
    return bool(os.environ.get(SWITCH))


def new_database(folder: Path, *, name: str) -> str:
    """Make a database on this server, unless it is there, and return its address."""
    made = subprocess.run(
        ["psql", "-h", str(folder), "-U", "vierogen", "-q", "-c", f"CREATE DATABASE {name}", "postgres"],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert made.returncode == 0 or "already exists" in made.stderr, made.stderr
    return f"postgresql+asyncpg://vierogen@/{name}?host={folder}"


@functools.cache
def server() -> Path:
    """Start a server on a socket in a short folder, once in this process and gone with it; skip where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    if not found or shutil.which("psql") is None:
        pytest.skip("needs Debian's postgresql")
    programs = found[0].parent
    folder = Path(tempfile.mkdtemp(prefix="vo-"))
    user = "postgres" if os.getuid() == 0 else None  # the server refuses to run as root
    if user is not None:
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL, timeout=PATIENCE_S)

    data = str(folder / "data")
    run(str(programs / "initdb"), "-D", data, "-U", "vierogen", "-A", "trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=200"
    run(
        str(programs / "pg_ctl"),
        "-D",
        data,
        "-o",
        options,
        "-l",
        str(folder / "log"),
        "-t",
        str(PATIENCE_S),
        "-w",
        "start",
    )

    def stop() -> None:
        run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return folder

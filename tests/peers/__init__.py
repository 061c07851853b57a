"""Programs from npm that tests and benchmarks run beside ours: by their lock, on first use, into a cache folder.

Where node or npm is missing, or nothing can be fetched, it says why and the test is skipped.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path


class Unavailable(Exception):  # noqa: N818 - the machine has it not: a reason to skip
    """Says what is missing."""


def from_npm(here: Path, program: str) -> Path:
    """Return a folder with `program` beside what `here`/package-lock.json names; raise Unavailable with the reason."""
    for needed in ("node", "npm"):
        if shutil.which(needed) is None:
            raise Unavailable(f"{needed} is not installed")
    lock = (here / "package-lock.json").read_bytes()
    folder = cache() / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not folder.is_dir():
        _install(here, folder)
    _put(here / program, folder / program)
    return folder


def cache() -> Path:
    """Return where peers are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vier-ogen" / "peers"


def _install(here: Path, folder: Path) -> None:
    """Fill a folder beside and rename it, so that one that is there is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        work = Path(made) / "work"
        work.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(here / name, work / name)
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"], cwd=work, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unavailable(f"npm ci: {done.stderr[-300:]}")
        try:
            work.rename(folder)
        except OSError:  # another process was first
            if not folder.is_dir():
                raise


def _put(source: Path, target: Path) -> None:
    """Copy as a whole: another process may be starting what is there."""
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as beside:
        beside.write(source.read_bytes())
    Path(beside.name).replace(target)

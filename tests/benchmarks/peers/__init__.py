"""Peers that come from other registries than ours, put in a cache folder by the benchmarks that want them."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.peers import Unavailable, cache, from_npm

HERE = Path(__file__).parent
AIOTUS = "aiotus==1.1.0"


def node_peers() -> Path | None:
    """Return the folder with @tus/server and what starts it; None (said on stderr) where it cannot be had."""
    try:
        return from_npm(HERE, "tus.mjs")
    except Unavailable as reason:
        _without("@tus/server", str(reason))
        return None


def aiotus_folder() -> Path | None:
    """Return a folder to put on PYTHONPATH; None (said on stderr) where aiotus cannot be had."""
    folder = cache() / AIOTUS
    if not (folder / "aiotus").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "--no-deps"]
        done = subprocess.run([*command, AIOTUS, "tenacity"], capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            _without("aiotus", done.stderr[-300:])
            return None
    return folder


def _without(name: str, why: str) -> None:
    print(f"without {name}: {why}", file=sys.stderr)

"""Peers that come from other registries than ours, put in a cache folder by the benchmarks that want them."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
AIOTUS = "aiotus==1.1.0"


def node_peers() -> Path | None:
    """Return the folder with @tus/server and what starts it; None (said on stderr) where it cannot be had."""
    if shutil.which("npm") is None:
        _without("@tus/server", "npm is not installed")
        return None
    lock = (HERE / "package-lock.json").read_bytes()
    folder = _cache() / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (folder / "node_modules" / "@tus").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder / name)
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            _without("@tus/server", done.stderr[-300:])
            return None
    shutil.copy(HERE / "tus.mjs", folder / "tus.mjs")
    return folder


def aiotus_folder() -> Path | None:
    """Return a folder to put on PYTHONPATH; None (said on stderr) where aiotus cannot be had."""
    folder = _cache() / AIOTUS
    if not (folder / "aiotus").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "--no-deps"]
        done = subprocess.run([*command, AIOTUS, "tenacity"], capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            _without("aiotus", done.stderr[-300:])
            return None
    return folder


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vier-ogen" / "peers"


def _without(name: str, why: str) -> None:
    print(f"without {name}: {why}", file=sys.stderr)

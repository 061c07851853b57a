"""The accessibility rules of axe-core (Deque, from npm, MPL-2.0), as a script that a test puts into a page."""

from pathlib import Path

from tests.peers import from_npm

HERE = Path(__file__).parent


def script() -> Path:
    """Return where axe is; raise Unavailable with the reason where it cannot be had."""
    return from_npm(HERE, "package.json") / "node_modules" / "axe-core" / "axe.min.js"

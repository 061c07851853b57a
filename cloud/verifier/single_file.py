"""The verifier as one file, `verifier.pyz`, that needs only Python and `cryptography`.

The same sources always give the same bytes, so that its SHA-256 can stand in a cover letter.
"""

import ast
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

_SHEBANG: Final = b"#!/usr/bin/env python3\n"
_START: Final = "import sys\n\nfrom cloud.verifier.command import main\n\nsys.exit(main())\n"
_FIRST: Final = "cloud.verifier.command"
_OURS: Final = ("broker", "cloud")
_FIRST_DAY: Final = (1980, 1, 1, 0, 0, 0)


def build_zipapp(target: Path) -> str:
    """Write the verifier to this file and return its SHA-256 in hexadecimal."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member("__main__.py"), _START)
        for name, source in sorted(_sources().items()):
            archive.writestr(_member(name), source)
    raw = _SHEBANG + content.getvalue()
    target.write_bytes(raw)
    target.chmod(0o755)
    return hashlib.sha256(raw).hexdigest()


def modules() -> tuple[str, ...]:
    """Return the modules of ours that the verifier consists of, packages left out."""
    found: set[str] = set()
    todo = [_FIRST]
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo += _imported(_read(module))
    return tuple(sorted(found))


def _sources() -> dict[str, str]:
    sources = {f"{module.replace('.', '/')}.py": _read(module) for module in modules()}
    packages = {name.rpartition("/")[0] for name in sources} | set(_OURS)
    return sources | {f"{package}/__init__.py": "" for package in packages}


def _imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in _OURS:
            yield node.module


def _read(module: str) -> str:
    package, _, name = module.rpartition(".")
    return files(package).joinpath(f"{name}.py").read_text(encoding="utf-8")


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _FIRST_DAY)
    member.external_attr = 0o644 << 16
    return member

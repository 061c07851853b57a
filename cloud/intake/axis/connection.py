"""The connection file: what an administrator loads into an Axis body-worn system so that it delivers here.

`python -m cloud.intake.axis.connection --help`. The file holds the key in clear text: give it out once, by a safe way,
and delete it. What stays here is its hash. A body-worn system is locked to its content destination, so the address is
near-permanent: a configured name, not one that changes with a machine.

Source: Axis Body Worn Content Destination API, connection file 1.0: lengths and which fields belong together.
"""

import argparse
import json
import os
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from broker.wire.content_key import content_key_id
from broker.wire.refusals import Code, refuse
from cloud.intake.axis.tokens import Account

MOST_BYTES: Final = 64 * 1024
APPLICATION: Final = "Vier Ogen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What goes into a connection file."""

    site: str
    version: str
    url: str  # https://host:port, as docks reach it
    user: str
    key: str
    certificate_pem: bytes  # of the server or its authority; without one a dock would speak plain HTTP
    content_key: RSAPublicKey | None  # the municipality's; None: clips come unencrypted by the camera
    container_type: Literal["mkv", "mp4"] = "mp4"  # cannot be changed later


def connection_file(connection: Connection) -> bytes:
    """Return the file; raise Refused (MALFORMED) for what a body-worn system would not take."""
    url = urlsplit(connection.url)
    if url.scheme != "https" or not url.hostname or url.path not in ("", "/"):
        raise refuse(Code.MALFORMED, "address", expected="https://host:port", got=connection.url)
    for what, value, most in (
        ("site", connection.site, 64),
        ("version", connection.version, 128),
        ("user", connection.user, 64),
        ("key", connection.key, 64),
    ):
        if not 0 < len(value) <= most:
            raise refuse(Code.MALFORMED, what, expected=f"1 to {most} characters", got=len(value))
    said: dict[str, Any] = {
        "ConnectionFileVersion": "1.0",
        "SiteName": connection.site,
        "ApplicationName": APPLICATION,
        "ApplicationVersion": connection.version,
        "ContentDestinationAsNTPServer": False,
        # The literal v1 tells client libraries which way of signing in this is.
        "AuthenticationTokenURI": [f"{connection.url.rstrip('/')}/auth/v1.0"],
        "BlobAPIKey": connection.key,
        "BlobAPIUserName": connection.user,
        "ContainerType": connection.container_type,
        "FullStoreAndReadSupport": False,  # we take footage in, and give none out by this door
        "HTTPSCertificate": [_checked("certificate", connection.certificate_pem, most=16 * 1024)],
        "WantEncryption": connection.content_key is not None,
    }
    if connection.content_key is not None:
        pem = connection.content_key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        said["PublicKey"] = _checked("content key", pem, most=2048)
        said["PublicKeyId"] = content_key_id(connection.content_key)
    raw = json.dumps(said, indent=2).encode()
    if len(raw) > MOST_BYTES:
        raise refuse(Code.MALFORMED, "connection file", expected=f"at most {MOST_BYTES} bytes", got=len(raw))
    return raw


def _checked(what: str, pem: bytes, *, most: int) -> str:
    encoded = b64encode(pem).decode()
    if len(encoded) > most:
        raise refuse(Code.MALFORMED, what, expected=f"at most {most} characters", got=len(encoded))
    return encoded


def main(argv: Sequence[str]) -> int:
    """Write a connection file, and print the line that the settings need."""
    parser = argparse.ArgumentParser(prog="python -m cloud.intake.axis.connection", description=__doc__)
    parser.add_argument("out", type=Path, help="the connection file to write; must not exist")
    parser.add_argument("--site", required=True, help="name that the administrator sees")
    parser.add_argument("--url", required=True, help="https://host:port as docks reach it; near-permanent")
    parser.add_argument("--user", default="axis", help="name of the account; one for each body-worn system")
    parser.add_argument(
        "--certificate", type=Path, required=True, help="PEM of the server's certificate or its authority"
    )
    parser.add_argument("--content-key", type=Path, help="PEM of the municipality's public content key")
    parser.add_argument("--container", choices=("mkv", "mp4"), default="mp4", help="cannot be changed later")
    parser.add_argument("--unencrypted", action="store_true", help="clips come without encryption by the camera")
    parser.add_argument("--version", default="1")
    arguments = parser.parse_args(argv)
    if (arguments.content_key is None) != arguments.unencrypted:
        parser.error("give --content-key, or say --unencrypted")
    key = None
    if arguments.content_key is not None:
        loaded = serialization.load_pem_public_key(arguments.content_key.read_bytes())
        if not isinstance(loaded, RSAPublicKey):
            parser.error(f"expected an RSA key in {arguments.content_key}")
        key = loaded
    account, secret = Account.new(arguments.user)
    raw = connection_file(
        Connection(
            site=arguments.site,
            version=arguments.version,
            url=arguments.url,
            user=arguments.user,
            key=secret,
            certificate_pem=arguments.certificate.read_bytes(),
            content_key=key,
            container_type=arguments.container,
        )
    )
    fd = os.open(arguments.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(raw)
    sys.stdout.write(msgspec.json.encode({"user": account.user, "key_sha256": account.key_sha256}).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The settings of one town's cloud, read once at the start from `cloud/cloud.json` in the town's folder."""

import difflib
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from broker.wire.statements import Place
from cloud.desk.rules.sign_in import SignIn, problem_with


class Listen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where something listens. Loopback unless told otherwise."""

    host: str = "127.0.0.1"
    port: int


class CloudConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What differs between installations; what a municipality decides is in its policy, not here.

    `desk_origin` is the desk's address as browsers see it (``https://desk.example``): security keys sign for it, so
    standard mode needs it, and the Kluis must have been founded for the same one.
    """

    org: str
    name: str
    oin: str
    mode: Literal["demonstration", "standard"]
    ledger_origin: str
    database_url: str
    desk: Listen
    receiver: Listen
    broker: Listen
    demonstration: bool = False
    viewing_places: dict[str, str] = {}
    desk_origin: str | None = None
    sign_in: SignIn = SignIn()

    @property
    def place(self) -> Place | None:
        """Where security keys may be used: the desk's host name and its one origin."""
        host = urlsplit(self.desk_origin).hostname if self.desk_origin else None
        return Place(rp_id=host, origins=(self.desk_origin,)) if host and self.desk_origin else None


class ConfigError(Exception):
    """The settings cannot be used; the message says what was expected, what came and what to do."""


def read_config(path: Path) -> CloudConfig:
    """Return the settings in `path`; an unknown key is an error that names the nearest known one."""
    try:
        config = msgspec.json.decode(path.read_bytes(), type=CloudConfig)
    except FileNotFoundError as cause:
        raise ConfigError(f"settings: expected {path}, found nothing; found the town first") from cause
    except msgspec.ValidationError as cause:
        given = msgspec.json.decode(path.read_bytes())
        known = [field.name for field in msgspec.structs.fields(CloudConfig)]
        for key in given if isinstance(given, dict) else ():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ConfigError(f"settings: {path} has the unknown key {key!r}{hint}") from cause
        raise ConfigError(f"settings: {path}: {cause}") from cause
    if config.mode == "standard" and config.place is None:
        raise ConfigError(f"settings: {path}: standard mode needs desk_origin, such as https://desk.example; add it")
    wrong = problem_with(config.sign_in, mode=config.mode)
    if wrong is not None:
        raise ConfigError(f"settings: {path}: sign_in: {wrong}")
    return config


class TownFolder:
    """Where one town's cloud keeps things. No folder here is made by reading this."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = root / "clock.json"
        self.pki = root / "pki"
        self.ca = root / "pki" / "ca.crt"
        self.broker = root / "broker"
        self.kluis = root / "kluis"
        self.kluis_socket = root / "kluis" / "kluis.sock"
        self.cloud = root / "cloud"
        self.config = root / "cloud" / "cloud.json"
        self.ledger = root / "cloud" / "ledger"
        self.ledger_key = root / "cloud" / "ledger.key"
        self.vault = root / "cloud" / "vault"
        self.invitations = root / "cloud" / "invitations"
        self.receipt_key = root / "cloud" / "receipt.key"
        self.command_key = root / "cloud" / "command.key"
        self.software_keys = root / "cloud" / "software-keys.json"
        self.stations = root / "stations"
        self.cameras = root / "cameras"
        self.buttons = root / "buttons"
        self.docks = root / "dock"
        self.log = root / "log"

    def certificate(self, identity: str) -> Path:
        """The certificate of one identity."""
        return self.pki / identity / "cert.pem"

    def private_key(self, identity: str) -> Path:
        """Its private key, readable by its owner only."""
        return self.pki / identity / "key.pem"

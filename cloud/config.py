"""The settings of one town's cloud, read once at the start from `cloud/cloud.json` in the town's folder."""

import difflib
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from cryptography import x509

from broker.wire.refusals import Refused
from broker.wire.statements import Place
from broker.wire.tlog import COSIGNATURE, read_verifier_key
from cloud.api.publisher import Contact
from cloud.desk.rules.sign_in import SignIn, problem_with


class Listen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where something listens. Loopback unless told otherwise."""

    host: str = "127.0.0.1"
    port: int


class AxisAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may deliver by the Axis door: what `python -m cloud.intake.axis.connection` printed."""

    user: str
    key_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class AxisCategory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an officer may call a bookmark on an Axis camera."""

    id: str
    name: str


class AxisSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The door for Axis body-worn systems. Opens only where the policy takes footage by way of `axis`.

    `public_url` (``https://host:port``) stands in every connection file and cannot change; `certificate` and `key` are
    paths of PEM files for its host name, by default those of the docks' door.
    """

    listen: Listen
    public_url: str
    accounts: tuple[AxisAccount, ...]
    categories: tuple[AxisCategory, ...] = ()
    certificate: str | None = None
    key: str | None = None


class WitnessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A witness of the ledger (C2SP tlog-witness): its address, its verifier key ``name+hash+base64``, how often."""

    url: str
    key: str
    every_s: Annotated[int, msgspec.Meta(ge=60, le=7 * 86_400)] = 3600


class TimestampSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An authority that stamps the time on the ledger (RFC 3161): its address, and how often it is asked.

    `certificate`: a PEM file with the authority's own certificate first, then those above it.
    """

    url: str
    certificate: str
    every_s: Annotated[int, msgspec.Meta(ge=3600, le=7 * 86_400)] = 86_400

    def certificates(self) -> list[x509.Certificate]:
        """Return what `certificate` holds; raise OSError, ValueError."""
        return x509.load_pem_x509_certificates(Path(self.certificate).read_bytes())


class CloudConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What differs between installations; what a municipality decides is in its policy, not here.

    `desk_origin` is the desk's address as browsers see it (``https://desk.example``): security keys sign for it, so
    standard mode needs it, and the Kluis must have been founded for the same one. `axis` and `watch_folder` are the
    ways in for footage of others (docs/axis.md); each opens only where the policy names it too. `receiver_processes`
    share the docks' port: more than one is for town halls with more docks than one core can serve. `alert_routes` are
    the apprise addresses by which people are reached (cloud/alerting/routes.py), by a name they recognise. `witness`
    and `timestamps` are asked to look at the ledger from outside (cloud/ledger/eyes.py). `contact` is whom the
    interface for programs names for questions (docs/api.md).
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
    receiver_processes: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    viewing_places: dict[str, str] = {}
    desk_origin: str | None = None
    alert_routes: dict[str, str] = {}
    sign_in: SignIn = SignIn()
    axis: AxisSettings | None = None
    watch_folder: str | None = None
    witness: WitnessSettings | None = None
    timestamps: TimestampSettings | None = None
    contact: Contact | None = None

    @property
    def desk_address(self) -> str:
        """Where the desk is, as browsers and programs reach it."""
        return self.desk_origin or f"http://{self.desk.host}:{self.desk.port}"

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
    outside = _problem_with_outside(config, TownFolder(path.parent.parent))
    if outside is not None:
        raise ConfigError(f"settings: {path}: {outside}")
    eyes = _problem_with_eyes(config)
    if eyes is not None:
        raise ConfigError(f"settings: {path}: {eyes}")
    return config


def _problem_with_eyes(config: CloudConfig) -> str | None:
    """Return what is wrong with whom the settings name to look at the ledger; None when nothing is."""
    for name, asked in (("witness", config.witness), ("timestamps", config.timestamps)):
        url = urlsplit(asked.url) if asked is not None else None
        if url is not None and (url.scheme not in ("https", "http") or not url.hostname):
            return f"{name}.url: expected https://host or http://host, got {url.geturl()!r}"
    try:
        if config.witness is not None:
            read_verifier_key(config.witness.key, kind=COSIGNATURE)
    except Refused as cause:
        return f"witness.key: {cause}"
    try:
        if config.timestamps is not None and len(config.timestamps.certificates()) < 2:
            return "timestamps.certificate: expected the authority's own certificate and the one above it, got one"
    except (OSError, ValueError) as cause:
        return f"timestamps.certificate: expected a file of PEM certificates, got {cause}"
    return None


def _problem_with_outside(config: CloudConfig, town: "TownFolder") -> str | None:
    """Return what is wrong with the ways in from outside, and what to do; None when nothing is."""
    if config.watch_folder is not None and not (
        Path(config.watch_folder).is_absolute() and Path(config.watch_folder).is_dir()
    ):
        return f"watch_folder: expected the absolute path of a folder that is there, got {config.watch_folder!r}"
    axis = config.axis
    if (axis is not None or config.watch_folder is not None) and not town.outside_key.exists():
        return (
            f"axis and watch_folder need {town.outside_key}, which this town was founded without: make it once, with "
            "`head -c 32 /dev/urandom`, mode 0600, and keep a copy; never make it again"
        )
    if axis is None:
        return None
    url = urlsplit(axis.public_url)
    if url.scheme != "https" or not url.hostname or url.port is None or url.path not in ("", "/"):
        return f"axis.public_url: expected https://host:port as docks reach it, got {axis.public_url!r}"
    if not axis.accounts or len({each.user for each in axis.accounts}) < len(axis.accounts):
        return "axis.accounts: expected one account for each body-worn system; docs/axis.md says how to make one"
    if (axis.certificate is None) != (axis.key is None):
        return "axis.certificate and axis.key: expected both or neither, got one"
    return None


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
        self.witnessed = root / "cloud" / "witnessed.checkpoint"
        self.stamps = root / "cloud" / "stamps"
        self.ledger_key = root / "cloud" / "ledger.key"
        self.vault = root / "cloud" / "vault"
        self.lanes = root / "cloud" / "lanes"
        self.invitations = root / "cloud" / "invitations"
        self.receipt_key = root / "cloud" / "receipt.key"
        self.outside_key = root / "cloud" / "outside.key"
        self.outside = root / "cloud" / "outside"
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

"""What a desk is made of: the services it stands on, its entrance, its name, and what it can do besides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from broker.clock import Clock
from broker.wire.statements import Place
from cloud.alerting.channels import Channels
from cloud.api.publisher import ANYBODY, Publisher
from cloud.casework.casework import Casework
from cloud.casework.policies import Policies
from cloud.database.engine import Database
from cloud.desk.administration import Administration
from cloud.desk.demo import Demo
from cloud.desk.oidc import OpenIdProvider
from cloud.desk.rules.sign_in import SignIn
from cloud.fleet.live import LiveHub
from cloud.fleet.register import Fleet
from cloud.kluis.client import KluisClient
from cloud.ledger.log import Ledger
from cloud.self_check import SelfCheck
from cloud.vault.store import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What of the town the desk works with; it closes none of them."""

    org: str
    database: Database
    ledger: Ledger
    kluis: KluisClient
    vault: Vault
    fleet: Fleet
    casework: Casework
    hub: LiveHub
    policies: Policies
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPlace:
    """Where security keys are used: the desk's own address, as the Kluis knows it, and the folder of codes with which
    a first key is registered.
    """

    place: Place
    invitations: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """How people come in, and from where they may look.

    With `keys` people sign in, sign and sit down with security keys; without, they are chosen from a list, and the desk
    is a demonstration. With `open_id`, the municipality's provider, a key alone is for the emergency entrance; it is
    closed with the desk. `viewing_places` says which network is which viewing place of the policy; without any, only
    this machine is one.
    """

    keys: KeyPlace | None = None
    sign_in: SignIn = field(default_factory=SignIn)
    open_id: OpenIdProvider | None = None
    viewing_places: Mapping[str, str] = field(default_factory=dict)

    @property
    def mode(self) -> Literal["demonstration", "standard"]:
        """Whether what people do here is enforced by keys of their own."""
        return "demonstration" if self.keys is None else "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Besides:
    """What not every desk can do; what is None is not there.

    `packages` is where packages that are handed over wait until they are fetched; without it nothing is handed over.
    Without `administration` no device comes or goes here.
    """

    packages: Path | None = None
    channels: Channels | None = None
    administration: Administration | None = None
    self_check: SelfCheck | None = None
    demo: Demo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nameplate:
    """Whose desk it says to be. `theme`: the text of its own style sheet; `publisher`: whom the interface names."""

    name: str
    theme: str = ""
    publisher: Publisher = ANYBODY

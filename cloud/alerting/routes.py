"""The routes by which a municipality can reach its people, through apprise: mail, ntfy, SMS and a hundred others.

A route is an apprise address in the settings with ``{address}`` where a person's own part goes, such as
``mailtos://user:secret@mail.example?to={address}``. People fill in only that part: no secret of theirs is kept here,
and nobody can make the cloud call a host that the municipality did not choose.
"""

import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import apprise

from broker.wire.refusals import Code, refuse

PLACE: Final = "{address}"
MOST_CHARACTERS: Final = 200


class Routes:
    """The municipality's routes, by name."""

    def __init__(self, routes: Mapping[str, str]) -> None:
        """Raise ValueError for a route that apprise cannot read; the message never repeats its secret."""
        for name, route in routes.items():
            if PLACE not in route or _open(route, "someone@example.org") is None:
                raise ValueError(
                    f"alert route {name!r}: expected an address that apprise knows, with {PLACE} in it; "
                    "see its list of services"
                )
        self._routes = dict(routes)

    @property
    def names(self) -> tuple[str, ...]:
        """What people choose from."""
        return tuple(self._routes)

    def check(self, route: str, address: str) -> str:
        """Return `address` as it is kept, or raise Refused."""
        if route not in self._routes:
            raise refuse(
                Code.MALFORMED, "route", expected=f"one of {', '.join(self._routes) or 'none'}", got=route[:40]
            )
        own = address.strip()
        if not own or len(own) > MOST_CHARACTERS or not own.isprintable() or _open(self._routes[route], own) is None:
            raise refuse(Code.MALFORMED, "address", expected=f"an address for {route}", got="another text")
        return own

    async def send(self, route: str, address: str, *, title: str, text: str) -> bool:
        """Send, and return whether the service took it. A route that is gone from the settings took nothing."""
        if route not in self._routes:
            return False
        service = _open(self._routes[route], address)
        if service is None:
            return False
        sender = apprise.Apprise(asset=_asset())
        sender.add(service)
        try:
            return bool(await sender.async_notify(title=title, body=text))
        except (OSError, TypeError, ValueError) as cause:
            logging.getLogger("cloud.alerting").warning("alert over %s not sent: %s", route, type(cause).__name__)
            return False


def _open(route: str, address: str) -> apprise.NotifyBase | None:
    return apprise.Apprise.instantiate(route.replace(PLACE, quote(address, safe="@+")), asset=_asset())


def _asset() -> apprise.AppriseAsset:
    return apprise.AppriseAsset(app_id="Vier Ogen", app_desc="Vier Ogen", app_url="")

"""Footage is looked at from registered places only (Heusden: "op de gemeentelocatie"): the desk knows them by network.

Which places count is the policy's (`viewing.places`); which network is which place is a setting of the installation.
"""

from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

from aiohttp import web

from cloud.desk.addresses import client_address
from cloud.desk.town import SOMEONE, deny, town_of, words_of
from cloud.rules.rights import judge_place
from cloud.rules.verdicts import Verdict

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PLACES: Final = web.AppKey("places", Mapping[str, str])
"""Network in CIDR notation -> the name of the place in the policy; empty: only the desk's own machine is a place."""

QUIET: Final = ("/aanwezig", "/weg", "/sluiten")
"""Signs of life come each second: refused without an entry. Getting up and closing are free everywhere."""


@web.middleware
async def from_a_viewing_place(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let nobody ask, approve, sit down or look but from a place that the policy names; say so in the register."""
    if not _is_viewing(request) or SOMEONE not in request:
        return await handler(request)
    verdict = await judge_here(request)
    if verdict:
        return await handler(request)
    if request.path.endswith(QUIET):
        raise web.HTTPForbidden
    dutch = words_of(request).language == "nl"
    return await deny(request, "viewing place", verdict.waarom if dutch else verdict.because)


async def judge_here(request: web.Request) -> Verdict:
    """Say whether whoever is there is at a viewing place of the policy."""
    policy = await town_of(request).policy()
    place = place_of(request.config_dict[PLACES], client_address(request), policy.viewing.places)
    return judge_place(policy, place, no_third_parties=True)  # the form asks that; here it is about where


def place_of(places: Mapping[str, str], address: IPv4Address | IPv6Address, named: tuple[str, ...]) -> str | None:
    """Return the place that this address belongs to, or None. Without a list, the desk's own machine is the first."""
    if not places:
        return named[0] if named and address.is_loopback else None
    return next((place for network, place in places.items() if address in ip_network(network)), None)


def _is_viewing(request: web.Request) -> bool:
    if not request.path.startswith("/kijkkamer"):
        return False
    return "/beeld/" in request.path or (request.method == "POST" and not request.path.endswith(QUIET[1:]))

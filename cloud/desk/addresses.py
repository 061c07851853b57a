"""Where a request comes from, also behind a TLS front."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohttp import web


def client_address(request: web.Request) -> IPv4Address | IPv6Address:
    """Return who is there. Behind a TLS front on this machine: the last address it wrote in X-Forwarded-For."""
    remote = ip_address(request.remote or "0.0.0.0")  # noqa: S104 - no address is nobody's place
    told = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    if not remote.is_loopback or not told:
        return remote
    try:
        return ip_address(told)
    except ValueError:
        return ip_address("0.0.0.0")  # noqa: S104 - a front that writes nonsense makes nobody's place

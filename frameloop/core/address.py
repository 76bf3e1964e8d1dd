"""Which URLs and which addresses may be fetched from. Pure: nothing here touches the network.

Guarantees: a URL that `AddressPolicy.url` returns is http or https, has a host, carries no
credentials, and if its host is an address, that address is allowed. An address is allowed when
it is public, or lies in `allow_networks`. Addresses that carry another one inside (IPv4-mapped,
NAT64) count as the one inside. Everything that isn't surely public is refused: the lists
follow IANA's special-purpose registries, plus public addresses that clouds use for metadata.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin

# The parser that aiohttp itself uses: what is checked and what is fetched is the same object, so
# no two parsers can disagree about where the host of a URL begins.
from yarl import URL

from frameloop.core.errors import Rejected
from schemas.dead_letter import Reason

URL_CHARS_MAX = 4096  # a redirect may be longer than an event's URL
SHOWN_PATH_CHARS_MAX = 80
JUDGED_ADDRESSES_KEPT = 4096

Network = IPv4Network | IPv6Network

_NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared address space; holds Alibaba Cloud's metadata service
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; holds most clouds' metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; holds Oracle Cloud's metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "168.63.129.16/32",  # public by number, yet Azure's host agent
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")  # the only block that is given out
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, among them Teredo, which carries an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries an IPv4 address; retired, so refused altogether
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # upper half of the interface id; then an IPv4 address

# What a registered name may hold after IDNA. Anything else (percent signs, spaces, zone ids) would
# be read differently by different resolvers.
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
# A host whose last label is a number is an IPv4 address to `inet_aton`, hence to getaddrinfo.
_NUMERIC_END = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?$")
_CANONICAL_V4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
# Surrogates: bytes of a redirect's header that aren't UTF-8. A dead letter could not hold them.
_CONTROL = re.compile("[\x00-\x20\x7f\ud800-\udfff]")
# Characters that RFC 3986 allows; such a URL is sent as it is, so that signatures stay valid.
_AS_IT_IS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")


class AddressPolicy:
    """Decides by rules alone. `allow_networks` are fetched from though they aren't public."""

    def __init__(self, allow_networks: Iterable[Network] = ()) -> None:
        self._allow_networks = tuple(allow_networks)
        self._judged = lru_cache(JUDGED_ADDRESSES_KEPT)(self._judge)

    def url(self, text: str) -> URL:
        """The URL to fetch. Raises `Rejected`: URL_NOT_ALLOWED or ADDRESS_NOT_ALLOWED."""
        url = _parsed(text)
        self._check(url)
        return url

    def redirect(self, source: URL, location: str) -> URL:
        """Where a redirect from `source` leads, checked like any other URL.

        A step from https down to http is refused: an encrypted link must not become one that
        anybody on the way may rewrite. Raises `Rejected` as `url` does.
        """
        _parsed(location)  # refused as it is, before `urljoin` tidies it
        try:
            # Not yarl's `join`: it takes the source's path decoded, so that `%0d%0a` or `%3f` in it
            # would act in the next request. What comes out is parsed and checked as any URL.
            joined = urljoin(str(source), location)
        except ValueError:
            raise Rejected(Reason.URL_NOT_ALLOWED, "redirect to a malformed URL") from None
        url = _parsed(joined)
        self._check(url)
        if source.scheme == "https" and url.scheme == "http":
            raise Rejected(Reason.URL_NOT_ALLOWED, f"{shown(url)}: redirect from https to http")
        return url

    def allows(self, address: str) -> bool:
        """Whether a connection to this numeric address may be made. Not numeric: False."""
        return self._judged(address)

    def _judge(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return False
            inner = _carried(address)
            if inner is not None:
                return self._judge(str(inner))
        return self._is_listed(address) or is_public(address)

    def _is_listed(self, address: IPv4Address | IPv6Address) -> bool:
        return any(
            address in network
            for network in self._allow_networks
            if network.version == address.version
        )

    def _check(self, url: URL) -> None:
        if url.scheme not in ("http", "https"):
            raise Rejected(Reason.URL_NOT_ALLOWED, f"scheme {url.scheme[:20]!r} is not http(s)")
        if "@" in url.raw_authority:
            raise Rejected(Reason.URL_NOT_ALLOWED, f"{shown(url)}: credentials in the URL")
        host = url.raw_host
        if not host:
            raise Rejected(Reason.URL_NOT_ALLOWED, "no host in the URL")
        if url.port == 0:
            raise Rejected(Reason.URL_NOT_ALLOWED, f"{shown(url)}: port 0")
        self._check_host(host, url)

    def _check_host(self, host: str, url: URL) -> None:
        literal = ":" in host or _CANONICAL_V4.fullmatch(host) is not None
        if literal:
            if not self.allows(host):
                raise Rejected(Reason.ADDRESS_NOT_ALLOWED, f"{shown(url)}: address is not public")
        elif _NUMERIC_END.search(host):
            # 2130706433, 0x7f.1, 0177.0.0.1: no honest sender writes an address so.
            raise Rejected(
                Reason.ADDRESS_NOT_ALLOWED, f"{shown(url)}: write the address as 4 decimal numbers"
            )
        elif not _HOST_NAME.fullmatch(host) or len(host) > 254:
            raise Rejected(Reason.URL_NOT_ALLOWED, f"{shown(url)}: not a host name")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address is one of the open internet. No address inside it is looked at."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def shown(url: URL) -> str:
    """The URL for messages: scheme, host and a shortened path; no credentials, no query."""
    path = url.raw_path
    if len(path) > SHOWN_PATH_CHARS_MAX:
        path = path[: SHOWN_PATH_CHARS_MAX - 1] + "…"
    return f"{url.scheme}://{url.host_port_subcomponent}{path}"


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a connection to this IPv6 address would end at, if there is one."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    low = int(address) & 0xFFFF_FFFF
    if address in _NAT64 or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return IPv4Address(low)
    return None


def _parsed(text: str) -> URL:
    if len(text) > URL_CHARS_MAX:
        raise Rejected(Reason.URL_NOT_ALLOWED, f"URL of more than {URL_CHARS_MAX} characters")
    text = text.strip(" ")
    if _CONTROL.search(text):
        raise Rejected(Reason.URL_NOT_ALLOWED, "space or control character in the URL")
    try:
        url = URL(text, encoded=_AS_IT_IS.fullmatch(text) is not None)
        _ = url.raw_host, url.port  # with `encoded`, yarl looks at the authority only when asked
        return url
    except (ValueError, IndexError):  # IndexError: yarl 1.x at `http://[a]:1@/`
        raise Rejected(Reason.URL_NOT_ALLOWED, "malformed URL") from None

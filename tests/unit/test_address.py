"""No URL and no address leads into a network that isn't public, however it is written."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.address import AddressPolicy, is_public, shown
from frameloop.core.errors import Rejected
from schemas.dead_letter import Reason

PUBLIC_ONLY = AddressPolicy()


def refusal(url: str, policy: AddressPolicy = PUBLIC_ONLY) -> Reason | None:
    try:
        policy.url(url)
    except Rejected as rejected:
        return rejected.reason
    return None


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
        "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1", "192.0.0.192",
        "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
        "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.88.99.1",
        "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
        "3fff::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2002:7f00:1::", "2002:808:808::",
        "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:0:7f00:1", "::127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808",
        "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:7f00:1",
        "fe80::1%eth0", "2606:4700::1%1", "", "localhost", "1.2.3", "0x7f.0.0.1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not PUBLIC_ONLY.allows(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
     "2606:4700:4700::1111", "2a00:1450:4001:82a::200e", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"],
)  # fmt: skip
def test_a_public_address_is_allowed(address: str) -> None:
    assert PUBLIC_ONLY.allows(address)


@given(st.ip_addresses())
def test_what_python_knows_to_be_private_is_never_public(
    address: IPv4Address | IPv6Address,
) -> None:
    not_open = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    if not_open and getattr(address, "ipv4_mapped", None) is None and not address.is_global:
        assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_inside_ipv6(address: IPv4Address) -> None:
    allowed = PUBLIC_ONLY.allows(str(address))
    assert PUBLIC_ONLY.allows(f"::ffff:{address}") == allowed
    assert PUBLIC_ONLY.allows(f"64:ff9b::{address}") == allowed


def test_networks_on_the_list_are_allowed_and_their_neighbours_are_not() -> None:
    policy = AddressPolicy((ip_network("127.0.0.0/8"), ip_network("fd12::/16")))
    assert policy.allows("127.0.0.1")
    assert policy.allows("::ffff:127.0.0.1")
    assert policy.allows("fd12::5")
    assert not policy.allows("10.0.0.1")
    assert not policy.allows("::1")
    assert not policy.allows("169.254.169.254")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "0x7f.1", "0X7F.1",
     "017700000001", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.1.", "127.0.0.01", "0",
     "\uff11\uff12\uff17.0.0.1", "127。0。0。1", "127%2e0.0.1", "①②⑦.0.0.1",
     "256.256.256.256", "1.2.3.4.5",
     "[fe80::1]", "169.254.169.254", "foo.0x7f", "8.8.8", "[64:ff9b::7f00:1]"],
)  # fmt: skip
def test_an_address_in_a_url_is_refused_however_it_is_written(host: str) -> None:
    assert refusal(f"http://{host}/a.png") is Reason.ADDRESS_NOT_ALLOWED
    assert refusal(f"https://{host}:8443/a.png") is Reason.ADDRESS_NOT_ALLOWED


def test_odd_spellings_are_refused_even_where_the_address_is_allowed() -> None:
    policy = AddressPolicy((ip_network("127.0.0.0/8"),))
    assert refusal("http://127.0.0.1/", policy) is None
    assert refusal("http://2130706433/", policy) is Reason.ADDRESS_NOT_ALLOWED


@pytest.mark.parametrize(
    "url",
    [
        "", "a.png", "/a.png", "//host.example/a", "ftp://host.example/a", "file:///etc/passwd",
        "data:image/png;base64,AAAA", "gopher://h.example/", "javascript:alert(1)",
        "http://", "http:///a", "http:a.png", "http://user:secret@host.example/",
        "http://user@host.example/", "https://:secret@host.example/", "http://host.example:0/",
        "http://host.example:99999/", "http://[::1", "http://ho st.example/",
        "http://host.example/\r\nX: y", "http://host\x00.example/", "http://a\\@b.example/",
        "http://[fe80::1%25eth0]x/", "http://.example/", "http://a..example/",
        "http://[::1]:8@/", "http://h.example/" + "a" * 5000, "http://" + "a" * 300 + ".example/",
    ],
)  # fmt: skip
def test_what_is_no_plain_http_url_is_refused(url: str) -> None:
    assert refusal(url) is Reason.URL_NOT_ALLOWED


@given(st.text() | st.text().map("http://{}".format) | st.text().map("http://h.example{}".format))
def test_any_text_is_either_a_url_or_rejected(text: str) -> None:
    try:
        url = PUBLIC_ONLY.url(text)
    except Rejected:
        return
    assert url.scheme in ("http", "https")
    assert url.raw_host
    assert url.raw_host.isascii()
    assert not url.user
    assert not url.password


def test_a_signed_url_is_not_rewritten() -> None:
    text = "https://b.example/a%2fb/%7Ec+d.png?X-Signature=%2B%2f~%7e&Expires=1%20"
    assert str(PUBLIC_ONLY.url(text)) == text


def test_international_urls_are_encoded() -> None:
    assert str(PUBLIC_ONLY.url("http://bücher.example/ä")) == (
        "http://xn--bcher-kva.example/%C3%A4"
    )


def test_messages_show_no_credentials_and_no_query() -> None:
    url = "https://user:hunter2@host.example:8443/path?token=hunter3#hunter4"
    with pytest.raises(Rejected) as caught:
        PUBLIC_ONLY.url(url)
    assert "hunter" not in str(caught.value)
    assert "https://host.example:8443/path" in str(caught.value)
    long = PUBLIC_ONLY.url("https://host.example/" + "p" * 500 + "?token=hunter2")
    assert len(shown(long)) < 120
    assert "hunter" not in shown(long)


def test_what_is_escaped_in_a_url_stays_escaped_in_where_it_redirects_to() -> None:
    source = PUBLIC_ONLY.url("http://host.example/x%0d%0aHost:%20evil/%3fy%2fz/b.png")
    assert str(PUBLIC_ONLY.redirect(source, "c.png")) == (
        "http://host.example/x%0d%0aHost:%20evil/%3fy%2fz/c.png"
    )


def test_redirects_are_resolved_and_checked_like_any_url() -> None:
    source = PUBLIC_ONLY.url("https://host.example/a/b.png?x=1")
    assert str(PUBLIC_ONLY.redirect(source, "../c.png?sig=%2f")) == (
        "https://host.example/c.png?sig=%2f"
    )
    assert str(PUBLIC_ONLY.redirect(source, "//cdn.example/c")) == "https://cdn.example/c"
    for location, reason in (
        ("http://host.example/c", Reason.URL_NOT_ALLOWED),  # from https
        ("https://127.0.0.1/", Reason.ADDRESS_NOT_ALLOWED),
        ("//169.254.169.254/latest/", Reason.ADDRESS_NOT_ALLOWED),
        ("file:///etc/passwd", Reason.URL_NOT_ALLOWED),
        ("https://user:pw@host.example/", Reason.URL_NOT_ALLOWED),
        ("https://[::1", Reason.URL_NOT_ALLOWED),
        ("https://[::1]:8@/", Reason.URL_NOT_ALLOWED),
        ("https://[1::%\udcff]/", Reason.URL_NOT_ALLOWED),  # bytes of the header that aren't UTF-8
    ):
        with pytest.raises(Rejected) as caught:
            PUBLIC_ONLY.redirect(source, location)
        assert caught.value.reason is reason
        str(caught.value).encode()
    assert PUBLIC_ONLY.redirect(PUBLIC_ONLY.url("http://h.example/"), "https://h.example/")

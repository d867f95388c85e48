"""No notice reaches an address that is not public, however the address is written or resolved.

Written forms are refused when they are read; whatever gets past that is refused by its address.
"""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.notices.target import Allowed, Reach, TargetError, is_public, read_target

LOOPBACK = Reach(
    allowed=(Allowed(ipaddress.ip_network("127.0.0.0/8"), frozenset({8080})),),
)

INSIDE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%1",
    "2606:4700::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
]
OUTSIDE = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "126.255.255.255",
    "128.0.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.167.255.255",
    "198.17.255.255",
    "223.255.255.255",
    "2606:4700::1111",
    "2001:4860:4860::8888",
    "2400::1",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize("text", INSIDE)
def test_an_address_inside_is_never_public(text):
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", OUTSIDE)
def test_an_address_outside_is_public(text):
    assert is_public(ipaddress.ip_address(text))


@given(st.ip_addresses(v=4))
def test_no_judgement_is_more_generous_than_the_library_s(address):
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_nor_of_a_long_address(address):
    if is_public(address) and address not in ipaddress.ip_network("64:ff9b::/96"):
        assert address.is_global
        assert not address.is_multicast


UNUSUAL = [
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://127.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1.",
    "http://127.0.0.01/",
    "http://[::ffff:127.0.0.1%eth0]/",
    "http://[v1.fe80::a+en1]/",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com:80@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http:\\\\127.0.0.1\\",
    "http://127.0.0.1#@example.com/",
    "http://example.com/#fragment",
    "http://exa mple.com/",
    "http://example.com/\r\nHost: inside",
    "http://example.com/\tx",
    " http://example.com/",
    "http://例え.jp/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://%31%32%37.0.0.1/",
    "http://example.com%00.inside/",
    "http://-a.example.com/",
    "http://a..example.com/",
    "http://_a.example.com/",
    "http://",
    "http:///path",
    "http://:80/",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:x/",
    "http://[::1",
    "//example.com/",
    "example.com",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "HTTP+unix://%2Frun%2Fdocker.sock/",
    "",
    "https://example.com/" + "a" * 2000,
    "https://" + "a" * 64 + ".com/",
    "https://" + "a." * 127 + "com/",
]


def reached(url):
    """Give the addresses that a program which asks the C library would connect to."""
    target = read_target(url)
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return target, [ipaddress.ip_address(each[4][0]) for each in found]


@pytest.mark.parametrize("url", UNUSUAL, ids=lambda url: url[:40])
def test_what_two_programs_could_read_differently_is_refused_or_leads_nowhere_inside(url):
    try:
        target, addresses = reached(url)
    except (TargetError, OSError):
        return
    with pytest.raises(TargetError):
        Reach().choose(target, addresses)


@given(st.text(max_size=60).map(lambda text: f"https://{text}"))
def test_reading_any_text_ends_in_a_target_or_in_a_reason(url):
    try:
        target = read_target(url)
    except TargetError:
        return
    assert target.path.startswith("/")
    assert target.path.isascii()
    assert not set(target.authority) & set(" \r\n\t@/\\?#")


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "authority"),
    [
        ("https://Example.COM", "example.com", 443, "/", "example.com"),
        ("https://example.com:443/a?b=c", "example.com", 443, "/a?b=c", "example.com"),
        ("http://example.com:8080?x", "example.com", 8080, "/?x", "example.com:8080"),
        ("https://[2606:4700::1111]/", "2606:4700::1111", 443, "/", "[2606:4700::1111]"),
        ("https://8.8.8.8:8443/", "8.8.8.8", 8443, "/", "8.8.8.8:8443"),
    ],
)
def test_an_ordinary_address_is_taken_apart(url, host, port, path, authority):
    target = read_target(url)

    assert (target.host, target.port, target.path) == (host, port, path)
    assert target.authority == authority


GOOD, BAD = ipaddress.ip_address("1.1.1.1"), ipaddress.ip_address("10.0.0.1")


@pytest.mark.parametrize("addresses", [[GOOD, BAD], [BAD, GOOD], [GOOD, GOOD, BAD], []])
def test_one_bad_address_among_good_ones_spoils_all(addresses):
    with pytest.raises(TargetError):
        Reach().choose(read_target("https://example.com/"), addresses)


def test_only_tls_and_configured_ports_lead_outside():
    for url in ("http://example.com/", "https://example.com:8443/"):
        with pytest.raises(TargetError):
            Reach().choose(read_target(url), [GOOD])
    assert Reach().choose(read_target("https://example.com/"), [GOOD, GOOD]) == [GOOD]
    assert Reach(frozenset({8443})).choose(read_target("https://example.com:8443/"), [GOOD])


def test_an_allowed_network_is_reached_on_its_ports_only():
    inside = ipaddress.ip_address("127.0.0.1")

    assert LOOPBACK.choose(read_target("http://127.0.0.1:8080/"), [inside]) == [inside]
    for url, address in (
        ("http://127.0.0.1:8081/", inside),
        ("http://127.0.0.1:8080/", BAD),
        ("http://127.0.0.1:8080/", ipaddress.ip_address("::1")),
        ("http://127.0.0.1:8080/", ipaddress.ip_address("::ffff:127.0.0.1")),
    ):
        with pytest.raises(TargetError):
            LOOPBACK.choose(read_target(url), [address])

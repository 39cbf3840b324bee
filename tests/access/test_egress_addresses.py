"""Which URLs and addresses pass, without any network."""

import ipaddress

import pytest

from access.addresses import is_allowed, is_public, parse_address
from access.egress import EgressRefused, PrivateHosts, check_url
from access.errors import Invalid

NOBODY = PrivateHosts()


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://api.example:443/v1?api-version=1",
        "https://api.example:80/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/v1",
        "https://bücher.example/",
        "https://my_model.example/",
    ],
)
def test_public_https_passes(url: str) -> None:
    check_url(url, NOBODY)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example/v1",
        "//api.example/v1",
        "http://api.example/v1",
        "ftp://api.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_INFO",
        "data:text/html,hello",
        "https://",
        "https:///v1",
        "https://user@api.example/",
        "https://user:password@api.example/",
        "https://@api.example/",
        "https://api.example:8443/",
        "https://api.example:22/",
        "https://api.example:0/",
        "https://api.example:65536/",
        "https://api.example:port/",
        "https://api.example\\@127.0.0.1/",
        "https://api.example/a b",
        "https://api.exa\nmple/",
        " https://api.example/",
        "https://api..example/",
        "https://-api.example/",
        "https://%31%32%37.0.0.1/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
        "https://api.example/" + "a" * 2048,
        "https://metadata.google.internal/",
        "https://vault.internal/",
        "https://internal/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://10.1.2.3/",
        "https://1.1/",
        "https://0x08080808/",
        "https://8.8.8.8.0x/",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(EgressRefused):
        check_url(url, NOBODY)


def test_the_refusal_blames_the_field_and_keeps_the_password_to_itself() -> None:
    with pytest.raises(EgressRefused) as caught:
        check_url("https://me:hunter2@api.example/", NOBODY, field="base_url")

    assert caught.value.details == {"base_url": [caught.value.message]}
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        (["ollama.lan"], "http://ollama.lan:11434/v1"),
        (["Ollama.LAN."], "http://ollama.lan/v1"),
        (["localhost"], "http://localhost:8000/"),
        (["127.0.0.0/8"], "http://127.9.9.9:1/"),
        (["127.0.0.1"], "http://localhost:8000/"),
        (["::1"], "http://[::1]:8000/"),
        (["[::1]"], "http://[::1]:8000/"),
        (["10.0.0.0/8"], "http://[::ffff:10.0.0.1]/"),
        (["gateway.internal"], "https://gateway.internal:8443/"),
        (["203.0.113.7"], "http://203.0.113.7:9000/"),
    ],
)
def test_a_listed_host_passes_with_http_and_any_port(entries: list[str], url: str) -> None:
    check_url(url, PrivateHosts.parse(entries))


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        (["ollama.lan"], "http://evil-ollama.lan/"),
        (["ollama.lan"], "http://sub.ollama.lan/"),
        (["10.0.0.0/8"], "http://11.0.0.1/"),
        (["10.0.0.0/8"], "http://127.0.0.1/"),
        (["127.0.0.1"], "http://user@127.0.0.1/"),
        (["127.0.0.1"], "ftp://127.0.0.1/"),
        (["64:ff9b::/96"], "http://[64:ff9b::7f00:1]/"),
        (["2002::/16"], "https://[2002:a00:1::]/"),
    ],
)
def test_a_list_opens_no_more_than_it_names(entries: list[str], url: str) -> None:
    with pytest.raises(EgressRefused):
        check_url(url, PrivateHosts.parse(entries))


def test_nat64_may_be_listed_for_public_addresses() -> None:
    check_url("https://[64:ff9b::808:808]/", PrivateHosts.parse(["64:ff9b::/96"]))


@pytest.mark.parametrize(
    "entry", ["", "http://ollama.lan", "ollama.lan:11434", "a b", "10.0.0.0/33"]
)
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(Invalid, match="EVALSCHED_PRIVATE_HOSTS"):
        PrivateHosts.parse([entry])


@pytest.mark.parametrize(
    "address",
    [
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.9",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
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
        "::808:808",
        "::ffff:10.0.0.1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_special_addresses_are_not_public(address: str) -> None:
    parsed = parse_address(address)
    assert parsed is not None

    assert not is_public(parsed)
    assert not is_allowed(parsed, NOBODY)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "100.63.255.255", "100.128.0.0", "172.32.0.1", "223.255.255.255", "2606:4700::1"],
)
def test_addresses_beside_the_special_ranges_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))

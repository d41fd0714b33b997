import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address import (
    InvalidAddress,
    format_address,
    pack_host,
    parse_address,
    parse_address_list,
    unpack_host,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9876", ("127.0.0.1", 9876)),
        (" broker.example:1 ", ("broker.example", 1)),
        ("[::1]:10911", ("::1", 10911)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
    ],
)
def test_parse(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert parse_address(format_address(*address)) == address


@pytest.mark.parametrize("text", ["", ":", "host", "host:", "host:x", "host:65536", "host:-1", ":9876", "::1", "[::1]"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_address(text)


@pytest.mark.parametrize(("text", "host"), [("localhost", "localhost"), ("::1", "::1"), ("[::1]", "::1")])
def test_a_bare_host_takes_the_default_port(text: str, host: str) -> None:
    assert parse_address(text, 9876) == (host, 9876)


def test_the_default_port_does_not_replace_a_bad_one() -> None:
    with pytest.raises(InvalidAddress):
        parse_address("host:x", 9876)
    with pytest.raises(InvalidAddress):
        parse_address("", 9876)


def test_lists_are_joined_by_either_separator() -> None:
    expected = [("a", 1), ("b", 2), ("::1", 3)]
    assert parse_address_list("a:1;b:2;[::1]:3;") == expected
    assert parse_address_list("a:1, b:2 ,[::1]:3") == expected
    with pytest.raises(InvalidAddress, match="empty"):
        parse_address_list(" ; ")


def test_packed_hosts_are_what_java_stores() -> None:
    assert pack_host("10.1.2.3", 45678).hex() == "0a0102030000b26e"
    assert pack_host("::1", 10911).hex() == "00000000000000000000000000000001" + "00002a9f"
    assert unpack_host(bytes.fromhex("7f00000100002a9f")) == ("127.0.0.1", 10911)


def test_a_mapped_address_is_stored_as_ipv4() -> None:
    assert pack_host("::ffff:10.1.2.3", 45678) == pack_host("10.1.2.3", 45678)


def test_a_scope_is_not_stored() -> None:
    assert unpack_host(pack_host("fe80::1%eth0", 1)) == ("fe80::1", 1)


def test_a_name_cannot_be_packed() -> None:
    with pytest.raises(InvalidAddress, match="not an IP address"):
        pack_host("localhost", 1)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_round_trip(ip: object, port: int) -> None:
    host = str(ip)
    unpacked, unpacked_port = unpack_host(pack_host(host, port))
    assert unpacked_port == port
    assert pack_host(unpacked, port) == pack_host(host, port)
    assert parse_address(format_address(host, port)) == (host, port)

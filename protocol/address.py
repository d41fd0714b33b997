"""Addresses: `host:port` texts as routes and options carry them, and the packed form inside records and ids.

Source: apache/rocketmq: common/.../message/MessageDecoder.java (hosts), remoting/.../common/RemotingHelper.java
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from protocol.errors import ProtocolError

_PORT_BYTES = 4


class InvalidAddress(ProtocolError, ValueError):
    """A text is not `host:port`, or a host is not an IP address where one is needed."""


def format_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Split `host:port`, `[v6]:port` or, with a default port, a bare host.

    Raises: InvalidAddress.
    """
    host, separator, port = text.strip().rpartition(":")
    if not separator or (":" in host and not host.endswith("]")):
        host, port = text.strip(), ""
    host = host.removeprefix("[").removesuffix("]")
    if not port and default_port is not None and host:
        return host, default_port
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidAddress(f"{text!r} is not an address of the form host:port")
    return host, int(port)


def parse_address_list(text: str, default_port: int | None = None) -> list[tuple[str, int]]:
    """Split addresses that are joined by `;` or `,`, as in NAMESRV_ADDR.

    Raises: InvalidAddress, also when there is none.
    """
    parts = [part for part in text.replace(",", ";").split(";") if part.strip()]
    if not parts:
        raise InvalidAddress("the address list is empty")
    return [parse_address(part, default_port) for part in parts]


@lru_cache(maxsize=4096)
def pack_host(host: str, port: int) -> bytes:
    """A host as records store it: 4 or 16 address bytes, then the port as i32.

    An IPv4-mapped IPv6 address is stored as IPv4.
    Raises: InvalidAddress when `host` is a name.
    """
    return _ip(host).packed + port.to_bytes(_PORT_BYTES, "big", signed=True)


@lru_cache(maxsize=4096)
def unpack_host(packed: bytes) -> tuple[str, int]:
    """The inverse of pack_host."""
    return str(ip_address(packed[:-_PORT_BYTES])), int.from_bytes(packed[-_PORT_BYTES:], "big", signed=True)


def _ip(host: str) -> IPv4Address | IPv6Address:
    try:
        ip = ip_address(host.partition("%")[0])
    except ValueError:
        raise InvalidAddress(f"{host!r} is not an IP address") from None
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip

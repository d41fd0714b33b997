"""The address that a broker tells its clients, and whether it can be reached.

This is the first thing that breaks for people: a broker that listens on all interfaces, or in a container, has no way
to know by which of its addresses clients come in. So there is a sane guess, a way to say it, and a check that says what
to do.
"""

import socket
from ipaddress import ip_address

from protocol.address import format_address
from rmq_server.broker.config import BrokerConfig
from rmq_server.core.errors import StartupError
from rmq_server.core.log import get_logger
from rmq_server.net.dialer import dial

_log = get_logger("broker")

_NO_HOST = "192.0.2.1"
"""An address that is nobody's (RFC 5737): asking the kernel for the way to it sends nothing."""


def advertised_host(config: BrokerConfig) -> str:
    """The host to announce: as configured; else where we listen; else, when that is everywhere, the outward address."""
    if config.advertise_host:
        return config.advertise_host
    if ip_is_unspecified(config.bind_address):
        return _outward_address() or "127.0.0.1"
    return config.bind_address


def ip_is_unspecified(host: str) -> bool:
    """Whether listening on `host` means listening on every interface."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def resolve(host: str) -> str:
    """The IP address of a host, for records and message ids.

    Raises: StartupError.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise StartupError(
            f"the advertised host {host!r} does not resolve ({error.strerror}): set brokerIP1 or --advertise to an "
            "address that clients can reach"
        ) from None
    addresses = [str(info[4][0]).partition("%")[0] for info in found]
    return next((address for address in addresses if ":" not in address), addresses[0])


async def check_reachable(host: str, port: int) -> bool:
    """Dial the announced address as a client would; one warning says what to change when that fails."""
    address = format_address(host, port)
    try:
        link = await dial(address)
    except (OSError, TimeoutError) as error:
        _log.warning(
            "clients are told to connect to an address that cannot be reached from here: set brokerIP1 (or "
            "--advertise host:port) to one that they can reach",
            advertised=address,
            reason=str(error) or type(error).__name__,
        )
        return False
    link.close()
    return True


def _outward_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_NO_HOST, 9))
        except OSError:
            return None
        host: str = probe.getsockname()[0]
        return host

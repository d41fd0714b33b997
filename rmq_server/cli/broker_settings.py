"""What mqbroker and standalone derive from a broker's settings beyond the files: name, addresses, safe defaults."""

import re
import socket
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

from protocol.address import InvalidAddress, format_address, parse_address
from rmq_server.broker.config import BrokerConfig
from rmq_server.broker.server import Broker
from rmq_server.core.config import Settings
from rmq_server.core.errors import StartupError

ALL_INTERFACES = "0.0.0.0"
_NO_NAME = "DEFAULT_BROKER"
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]+")


def broker_config(settings: Settings, *, advertise_port: int = 0, name: str | None = None) -> BrokerConfig:
    """The broker's settings with what depends on the machine and on one another.

    name: the broker's name unless it is set; default: the host's.
    An advertised address that is not loopback means: listen on all interfaces, unless bindAddress is set.
    """
    config = replace(settings[BrokerConfig], advertise_port=advertise_port)
    if not settings.is_set("brokerName"):
        config = replace(config, broker_name=name or host_name())
    if config.advertise_host and not settings.is_set("bindAddress") and not _is_loopback(config.advertise_host):
        config = replace(config, bind_address=ALL_INTERFACES)
    return config


def split_advertised(text: str | None) -> tuple[str | None, int]:
    """Host and port of `--advertise`; port 0 when it names none.

    Raises: StartupError.
    """
    if not text:
        return None, 0
    try:
        return parse_address(text, default_port=0)
    except InvalidAddress:
        raise StartupError(f"--advertise {text}: not of the form HOST or HOST:PORT") from None


def bound_addresses(broker: Broker) -> Mapping[str, str]:
    """For the ports file."""
    host = broker.config.bind_address
    return {"broker": format_address(host, broker.port), "vip": format_address(host, broker.vip_port)}


def boot_line(broker: Broker) -> str:
    """What upstream prints."""
    line = f"The broker[{broker.config.broker_name}, {broker.address}] boot success. serializeType=JSON"
    namesrv = broker.config.namesrv_addr
    return f"{line} and name server is {namesrv}" if namesrv else line


def host_name() -> str:
    """The host's name as a legal broker name."""
    return _ILLEGAL.sub("-", socket.gethostname()).strip("-") or _NO_NAME


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"

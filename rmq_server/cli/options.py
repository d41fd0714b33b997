"""Options that several programs share, with upstream's letters where upstream has them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Port(click.ParamType[int]):
    """A TCP port, 0 included."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            port = int(value)
        except ValueError:
            port = -1
        if not 0 <= port <= 65535:
            self.fail(f"{value} is not a port: allowed are 0 to 65535", param, ctx)
        return port


class LogOptions(NamedTuple):
    """Where logs go and how they look."""

    style: str
    level: str
    directory: Path | None


def config_file(command: F) -> F:
    """-c FILE"""
    return click.option(
        "-c",
        "--configFile",
        "file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Upstream's key=value file.",
    )(command)


def print_config(command: F) -> F:
    """-p"""
    return click.option(
        "-p", "--printConfigItem", "print_config", is_flag=True, help="Print all settings and their values, and exit."
    )(command)


def namesrv_addr(text: str) -> Callable[[F], F]:
    """-n ADDRESSES"""
    return click.option("-n", "--namesrvAddr", "namesrv", metavar="HOST:PORT[;HOST:PORT]", help=text)


def host(command: F) -> F:
    """--host ADDRESS"""
    return click.option(
        "--host", metavar="ADDRESS", help="Address to listen on (bindAddress). Default: loopback; 0.0.0.0 for all."
    )(command)


def port(name: str, text: str) -> Callable[[F], F]:
    """--port N"""
    return click.option(name, type=_Port(), metavar="PORT", help=text)


def advertise(command: F) -> F:
    """--advertise HOST[:PORT]"""
    return click.option(
        "--advertise", metavar="HOST[:PORT]", help="Address that clients are told to connect to (brokerIP1)."
    )(command)


def ports_file(command: F) -> F:
    """--ports-file FILE"""
    return click.option(
        "--ports-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write what was bound to FILE, as JSON, once it is ready.",
    )(command)


def log(level: str = "info") -> Callable[[F], F]:
    """--log-dir, --log-format, --log-level"""

    def add(command: F) -> F:
        for option in (
            click.option(
                "--log-level",
                type=click.Choice(["debug", "info", "warning", "error"]),
                default=level,
                show_default=True,
                help="Least level that is logged.",
            ),
            click.option(
                "--log-format",
                type=click.Choice(["console", "json"]),
                default="console",
                show_default=True,
                help="How log lines look.",
            ),
            click.option(
                "--log-dir",
                type=click.Path(path_type=Path),
                metavar="DIR",
                help="Log to rotating files there instead of to stderr.",
            ),
        ):
            command = option(command)
        return command

    return add

"""Options that several runs share."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)


def json_option(command: F) -> F:
    """--json FILE"""
    return click.option(
        "--json",
        "json_file",
        type=_PATH,
        metavar="FILE",
        help="Also write the results there, with machine facts; a bare name goes to bench/results.",
    )(command)


def store_option(command: F) -> F:
    """--store-root DIR"""
    return click.option(
        "--store-root",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        metavar="DIR",
        help="Make the (temporary) stores in DIR, to measure its disk. Default: the temporary directory.",
    )(command)


def store_directory(root: Path | None) -> Path:
    """Where stores are made."""
    return root or Path(tempfile.gettempdir())

"""One setting's text to its value and back."""

import types
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin

_BOOLEANS = {"true": True, "false": False}


class BadValueError(ValueError):
    """A text is no value of its setting; the message is the reason alone."""


def parse_value(text: str, kind: Any, *, low: float | None = None, high: float | None = None) -> Any:
    """Read a value of type `kind`: bool, int, float, str, Path, an Enum, or one of these or None (empty text).

    A Path may begin with `~`.
    Raises: BadValueError.
    """
    text = text.strip()
    if get_origin(kind) in (Union, types.UnionType):
        kind, *_ = (choice for choice in get_args(kind) if choice is not type(None))
        if not text:
            return None
    if kind is bool:
        return _boolean(text)
    if kind in (int, float):
        return _number(text, kind, low, high)
    if kind is Path:
        return Path(text).expanduser()
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member(text, kind)
    return text


def format_value(value: Any) -> str:
    """The text of a value, as upstream's tools print it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.name if isinstance(value, Enum) else str(value)


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise BadValueError("neither true nor false")
    return value


def _number(text: str, kind: type[int] | type[float], low: float | None, high: float | None) -> float:
    try:
        value = kind(text)
    except ValueError:
        raise BadValueError("not a whole number" if kind is int else "not a number") from None
    if (low is not None and value < low) or (high is not None and value > high):
        if high is None:
            raise BadValueError(f"the least allowed is {low}")
        raise BadValueError(f"allowed are {low} to {high}" if low is not None else f"the most allowed is {high}")
    return value


def _member(text: str, kind: type[Enum]) -> Enum:
    for member in kind:
        if text.lower() in (member.name.lower(), str(member.value).lower()):
            return member
    raise BadValueError(f"allowed are {', '.join(member.name for member in kind)}")

"""Settings: frozen dataclasses that load from upstream's `key=value` files.

Each part of a server keeps its settings in a frozen, keyword-only dataclass beside its code, made of `setting` fields.
A field carries upstream's key, so that a `broker.conf` written for Apache's broker loads here.

Invariants: a key is either supported, known but unsupported (a warning), a promise that we cannot keep yet (refused), or
unknown (an error that names the nearest known key). Nothing is ignored silently.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any


def setting(default: Any, key: str, *, doc: str = "", live: bool = False) -> Any:
    """A dataclass field that loads from upstream's `key`.

    live: it may change while the server runs.
    """
    return dataclasses.field(default=default, metadata={"key": key, "doc": doc, "live": live})


def keys_of(config: type) -> Mapping[str, dataclasses.Field[Any]]:
    """Upstream key -> field of one settings class."""
    return {field.metadata["key"]: field for field in dataclasses.fields(config) if "key" in field.metadata}

"""Settings: frozen dataclasses that load from upstream's `key=value` files.

Each part of a server keeps its settings in a frozen, keyword-only dataclass beside its code, made of `setting` fields.
A field carries upstream's key, so that a `broker.conf` written for Apache's broker loads here. Several parts may have a
field for the same key. `load` fills all parts of a server from defaults < file < environment < arguments.

Invariants: a key is either supported, known but unsupported (a note, unless its value is upstream's default), a promise
that we cannot keep yet (refused), or unknown (an error that names the nearest known key). Nothing is ignored silently.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

from rmq_server.core.errors import StartupError
from rmq_server.core.promises import promise_of
from rmq_server.core.properties import parse_properties
from rmq_server.core.values import BadValueError, format_value, parse_value

ENVIRONMENT = {"NAMESRV_ADDR": "namesrvAddr"}
"""Environment variables that set a key."""

P = TypeVar("P")


class ConfigError(StartupError):
    """The configuration is wrong; the text has one line for each problem, with place, key and reason."""


class Given(NamedTuple):
    """One key as somebody set it; where: `broker.conf:12`, `--port`, `NAMESRV_ADDR`."""

    key: str
    value: str
    where: str


class Note(NamedTuple):
    """A key that was read and has no effect, and why."""

    given: Given
    reason: str


def setting(
    default: Any, key: str, *, doc: str = "", live: bool = False, low: float | None = None, high: float | None = None
) -> Any:
    """A dataclass field that loads from upstream's `key`.

    default:   the value, or a function that finds it.
    live:      it may change while the server runs.
    low, high: the least and the greatest number allowed.
    """
    metadata = {"key": key, "doc": doc, "live": live, "low": low, "high": high}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def keys_of(config: type) -> Mapping[str, dataclasses.Field[Any]]:
    """Upstream key -> field of one settings class."""
    return {field.metadata["key"]: field for field in dataclasses.fields(config) if "key" in field.metadata}


def properties_of(*configs: Any) -> dict[str, str]:
    """Upstream key -> text of all settings, as upstream's files and tools write them."""
    return {
        key: format_value(getattr(config, field.name))
        for config in configs
        for key, field in keys_of(type(config)).items()
    }


class Settings:
    """The loaded parts of one server: `settings[StoreConfig]`."""

    def __init__(self, parts: Sequence[Any], given: Iterable[str], notes: Sequence[Note]) -> None:
        self._parts = {type(part): part for part in parts}
        self._given = frozenset(given)
        self.notes = tuple(notes)

    def __getitem__(self, kind: type[P]) -> P:
        return cast("P", self._parts[kind])

    def is_set(self, key: str) -> bool:
        """Whether somebody set the key, be it to its default."""
        return key in self._given

    def properties(self) -> dict[str, str]:
        """Upstream key -> text, of all parts."""
        return properties_of(*self._parts.values())


def load(
    kinds: Sequence[type],
    known: Mapping[str, str | None],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    arguments: Iterable[Given] = (),
) -> Settings:
    """Fill the settings classes of one server.

    known: upstream's keys and default values (core/known_keys.py).
    Raises: ConfigError with every problem found.
    """
    given = [*_from_environment(kinds, environment or {}), *arguments]
    if file is not None:
        given = [*read_file(file), *given]
    fields = {kind: keys_of(kind) for kind in kinds}
    supported = {key for keys in fields.values() for key in keys}
    problems: dict[Given | type, str] = {}
    notes = [*_repeated(given)]
    for item in given:
        _classify(item, supported, known, problems.setdefault, notes.append)
    last = {item.key: item for item in given}
    parts = [_fill(kind, fields[kind], last, problems.setdefault) for kind in kinds]
    if problems:
        raise ConfigError("\n".join(problems[place] for place in (*given, *kinds) if place in problems))
    return Settings(parts, last, notes)


def given_arguments(*arguments: tuple[str, object, str]) -> list[Given]:
    """(key, value, option) triples as given keys; those whose value is None were not given."""
    return [Given(key, str(value), option) for key, value, option in arguments if value is not None]


def read_file(path: Path) -> list[Given]:
    """The entries of a `key=value` file.

    Raises: ConfigError when it cannot be read.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read the configuration file {path}: it is not UTF-8 text") from None
    return [Given(key, value, f"{path}:{line}") for key, value, line in parse_properties(text)]


def _from_environment(kinds: Sequence[type], environment: Mapping[str, str]) -> list[Given]:
    """Variables may be meant for another server of this machine: those that no part reads are passed over."""
    supported = {key for kind in kinds for key in keys_of(kind)}
    return [
        Given(key, environment[variable], variable)
        for variable, key in ENVIRONMENT.items()
        if environment.get(variable) and key in supported
    ]


def _repeated(given: Sequence[Given]) -> Iterable[Note]:
    """Keys that one file sets twice; that a later source overrides an earlier one is the rule and no news."""
    seen: dict[tuple[str, str], Given] = {}
    for item in given:
        source = item.where.rpartition(":")[0]
        before = seen.get((item.key, source)) if source else None
        if before is not None and before.value != item.value:
            yield Note(before, f"set again at {item.where}, which counts")
        seen[item.key, source] = item


def _classify(
    item: Given,
    supported: set[str],
    known: Mapping[str, str | None],
    problem: Callable[[Given, str], object],
    note: Callable[[Note], None],
) -> None:
    key, value, where = item
    promise = promise_of(key)
    if promise is not None and value.lower() not in [kept.lower() for kept in promise.kept]:
        problem(item, f"{where}: {key}={value} is refused: {promise.why}")
    elif promise is not None or key in supported:
        pass
    elif key not in known:
        problem(item, f"{where}: unknown key `{key}`{_hint(key, supported | known.keys())}")
    elif value != known[key]:
        note(Note(item, "not supported"))


def _hint(key: str, candidates: Iterable[str]) -> str:
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    nearest = difflib.get_close_matches(key.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean `{by_lower[nearest[0]]}`?" if nearest else ""


def _fill(
    kind: type,
    fields: Mapping[str, dataclasses.Field[Any]],
    given: Mapping[str, Given],
    problem: Callable[[Given | type, str], object],
) -> Any:
    hints = get_type_hints(kind)
    values = {}
    for key, field in fields.items():
        item = given.get(key)
        if item is None:
            continue
        try:
            values[field.name] = parse_value(
                item.value, hints[field.name], low=field.metadata["low"], high=field.metadata["high"]
            )
        except BadValueError as error:
            problem(item, f"{item.where}: {key}={item.value}: {error}")
    try:
        return kind(**values)
    except ValueError as error:
        problem(kind, str(error))
        return None

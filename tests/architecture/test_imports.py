"""The direction of dependencies (style.md, section 3), read from the syntax trees.

The tables come first and are the rules; a change of architecture changes them, and nothing else here.
"""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "rmq_client", "rmq_server")

MAY_IMPORT = {
    "protocol": {"protocol"},
    "rmq_client": {"protocol", "rmq_client"},
    "rmq_server": {"protocol", "rmq_client", "rmq_server"},
}
"""Which of our packages each may import; who inside rmq_server may import rmq_client says the next table."""

USERS_OF_THE_CLIENT = {"rmq_server.proxy", "rmq_server.dashboard", "rmq_server.testing", "rmq_server.cli"}

LEVELS = {
    "rmq_server.core": 1,
    "rmq_server.net": 2,
    "rmq_server.filter": 2,
    "rmq_server.store": 2,
    "rmq_server.namesrv": 3,
    "rmq_server.broker": 3,
    "rmq_server.ha": 3,
    "rmq_server.storetools": 3,
    "rmq_server.proxy": 4,
    "rmq_server.dashboard": 4,
    "rmq_server.testing": 5,
    "rmq_server.cli": 5,
}
"""A package imports itself and lower levels, never another one of its own level."""

COMPOSITION_ROOTS = {
    "rmq_server": "the face: names of every part",
    "rmq_server.__main__": "runs every part",
    "rmq_server.broker.server": "builds a broker of broker and ha",
    "rmq_server.testing.cluster": "builds a whole cluster",
}
"""Modules that may import across their level."""

PROTOCOL_THIRD_PARTY = {"msgspec", "msgpack"}
PROTOCOL_FORBIDDEN_STDLIB = {
    *("asyncio", "concurrent", "multiprocessing", "os", "select", "selectors", "signal", "socket", "socketserver"),
    *("ssl", "subprocess", "tempfile", "threading", "time", "sched", "pathlib", "shutil", "random", "secrets"),
}
"""No IO, no clock, no concurrency, no chance: those are given as values."""

PROTOCOL_EXCEPTIONS = {"protocol.compress": {"cramjam"}, "protocol.v2": {"google", "grpc"}}
"""Guarded extras of a module or package."""

MAY_IMPORT_LAZILY = {"rmq_server.cli", "rmq_client.cli"}
LAZY_MARK = "# lazy:"
"""Imports inside functions are for the command lines; elsewhere the line says why, after this mark."""


class Import(NamedTuple):
    """One imported module, as seen in `module` at `line`."""

    module: str
    target: str
    line: int
    in_function: bool
    typing_only: bool
    text: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def sources() -> dict[str, str]:
    """Every module of ours by its dotted name; a package is its __init__."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imports_of(modules: Mapping[str, str], known: Iterable[str] = ()) -> list[Import]:
    """Every import of every module; `from package import module` counts as one of the module, if that is known."""
    names = {*modules, *known}
    return [found for name, source in modules.items() for found in _imports(name, source, names)]


def _imports(module: str, source: str, modules: set[str]) -> Iterator[Import]:
    lines = source.splitlines()

    def visit(node: ast.AST, in_function: bool, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                for target in _targets(child, module, modules):
                    text = lines[child.lineno - 1]
                    yield Import(module, target, child.lineno, in_function, typing_only, text)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from visit(child, True, typing_only)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                yield from visit(child, in_function, True)
            else:
                yield from visit(child, in_function, typing_only)

    yield from visit(ast.parse(source), False, False)


def _targets(node: ast.Import | ast.ImportFrom, module: str, modules: set[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        base = ".".join([*module.split(".")[: -node.level], *filter(None, [base])])
    members = {f"{base}.{alias.name}" for alias in node.names}
    return sorted((members & modules) | ({base} if members - modules else set()))


def within(module: str, packages: Mapping[str, object] | set[str]) -> str | None:
    """The one of `packages` that a module belongs to."""
    return next((package for package in packages if module == package or module.startswith(package + ".")), None)


def top(module: str) -> str:
    return module.partition(".")[0]


def upward_between_distributions(imports: list[Import]) -> list[Import]:
    return [
        found
        for found in imports
        if top(found.target) in MAY_IMPORT
        and (
            top(found.target) not in MAY_IMPORT[top(found.module)]
            or (
                (top(found.module), top(found.target)) == ("rmq_server", "rmq_client")
                and not within(found.module, USERS_OF_THE_CLIENT)
            )
        )
    ]


def not_for_the_protocol(imports: list[Import]) -> list[Import]:
    bad = []
    for found in imports:
        target = top(found.target)
        if top(found.module) != "protocol" or target == "protocol":
            continue
        allowed = PROTOCOL_THIRD_PARTY | PROTOCOL_EXCEPTIONS.get(within(found.module, PROTOCOL_EXCEPTIONS) or "", set())
        stdlib = target in sys.stdlib_module_names and target not in PROTOCOL_FORBIDDEN_STDLIB
        if not stdlib and target not in allowed:
            bad.append(found)
    return bad


def not_downward(imports: list[Import]) -> list[Import]:
    bad = []
    for found in imports:
        here, there = within(found.module, LEVELS), within(found.target, LEVELS)
        if found.module in COMPOSITION_ROOTS or not found.target.startswith("rmq_server"):
            continue
        if here is None or there is None or (here != there and LEVELS[there] >= LEVELS[here]):
            bad.append(found)
    return bad


def not_only_public(imports: list[Import]) -> list[Import]:
    """Private modules and names of another package."""
    return [
        found
        for found in imports
        if top(found.target) in MAY_IMPORT
        and any(part.startswith("_") and not part.startswith("__") for part in found.target.split("."))
        and found.target.rpartition(".")[0] != found.module.rpartition(".")[0]
    ]


def hidden_in_functions(imports: list[Import]) -> list[Import]:
    return [
        found
        for found in imports
        if found.in_function and not within(found.module, MAY_IMPORT_LAZILY) and LAZY_MARK not in found.text
    ]


def relative(modules: Mapping[str, str]) -> list[str]:
    """The package names are generic: they are always written out."""
    return [
        f"{name}:{node.lineno}"
        for name, source in modules.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def cycle(modules: Mapping[str, str]) -> list[str]:
    """One circle of imports, empty when there is none.

    Importing a.b.c runs a, a.b and a.b.c; the packages that the importer is in itself are running already.
    """
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for found in imports_of(modules):
        if found.in_function or found.typing_only:
            continue
        parts = found.target.split(".")
        chain = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        own = {name for name in chain if found.module == name or found.module.startswith(name + ".")}
        explicit = {found.target} - {found.module}
        graph[found.module] |= ((chain - own) | explicit) & modules.keys()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


MODULES = sources()
IMPORTS = imports_of(MODULES)

RULES = [upward_between_distributions, not_for_the_protocol, not_downward, not_only_public, hidden_in_functions]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule):
    assert not [str(found) for found in rule(IMPORTS)]


def test_no_relative_import():
    assert not relative(MODULES)


def test_no_cycle():
    assert not cycle(MODULES), "imports go round in a circle"


def test_every_package_has_a_level():
    packages = {".".join(name.split(".")[:2]) for name in MODULES if name.count(".") >= 2}
    assert {name for name in packages if name.startswith("rmq_server.")} <= LEVELS.keys()


def test_tables_name_what_exists():
    """No rule is left behind for a module that is gone; those of the target layout may still come."""
    coming = {"rmq_server.ha", "rmq_server.proxy", "rmq_server.dashboard", "rmq_server.filter", "protocol.v2"}
    named = {*LEVELS, *COMPOSITION_ROOTS, *PROTOCOL_EXCEPTIONS, *USERS_OF_THE_CLIENT} - coming
    assert named <= MODULES.keys()


VIOLATIONS = [
    (upward_between_distributions, "protocol.x", "import rmq_client"),
    (upward_between_distributions, "rmq_client.x", "from rmq_server.core import clock"),
    (upward_between_distributions, "rmq_server.broker.x", "from rmq_client import Producer"),
    (not_for_the_protocol, "protocol.x", "import asyncio"),
    (not_for_the_protocol, "protocol.x", "from os import path"),
    (not_for_the_protocol, "protocol.x", "import cramjam"),
    (not_for_the_protocol, "protocol.x", "import structlog"),
    (not_for_the_protocol, "protocol.x", "if TYPE_CHECKING:\n    import asyncio"),
    (not_downward, "rmq_server.core.x", "from rmq_server.net import transport"),
    (not_downward, "rmq_server.net.x", "from rmq_server import store"),
    (not_downward, "rmq_server.store.x", "import rmq_server.filter.tag"),
    (not_downward, "rmq_server.namesrv.x", "from rmq_server.broker.topics import Topics"),
    (not_downward, "rmq_server.broker.x", "from rmq_server import Broker"),
    (not_downward, "rmq_server.cli.x", "from rmq_server.testing.cluster import EmbeddedCluster"),
    (not_only_public, "rmq_server.cli.x", "import rmq_client._private"),
    (hidden_in_functions, "rmq_client.x", "def f():\n    import json"),
    (hidden_in_functions, "rmq_client.x", "class A:\n    async def f(self):\n        if 1:\n            import json"),
]
ALLOWED = [
    (upward_between_distributions, "rmq_server.dashboard.x", "from rmq_client import AdminClient"),
    (not_for_the_protocol, "protocol.compress", "import cramjam"),
    (not_for_the_protocol, "protocol.x", "import zlib, msgspec, msgpack\nfrom protocol.codes import RequestCode"),
    (not_downward, "rmq_server.broker.x", "from rmq_server.store import layout\nfrom rmq_server.broker import topics"),
    (not_downward, "rmq_server.testing.cluster", "from rmq_server.namesrv.server import NameServer"),
    (not_only_public, "rmq_client.x", "from rmq_client._private import x"),
    (hidden_in_functions, "rmq_server.cli.x", "def f():\n    import json"),
    (hidden_in_functions, "rmq_client.x", "def f():\n    import json  # lazy: start-up time"),
]


@pytest.mark.parametrize(("rule", "module", "source"), VIOLATIONS)
def test_rule_finds(rule, module, source):
    assert rule(imports_of({module: source}, MODULES))


@pytest.mark.parametrize(("rule", "module", "source"), ALLOWED)
def test_rule_allows(rule, module, source):
    assert not rule(imports_of({module: source}, {*MODULES, "rmq_client._private"}))


@pytest.mark.parametrize(
    ("modules", "found"),
    [
        ({"a": "import b", "b": "import a"}, {"a", "b"}),
        ({"p": "from p.x import X", "p.x": "import q", "q": "from p.y import Y", "p.y": ""}, {"p", "p.x", "q"}),
        ({"p": "from p.x import X", "p.x": "from p import Y"}, {"p", "p.x"}),
        ({"p": "from p.x import X", "p.x": "from p.y import Y", "p.y": ""}, set()),
        ({"p": "", "p.x": "from p import y", "p.y": ""}, set()),
        ({"a": "def f():\n    import b", "b": "import a"}, set()),
        ({"a": "if TYPE_CHECKING:\n    import b", "b": "import a"}, set()),
    ],
)
def test_cycles_are_found(modules, found):
    assert set(cycle(modules)) == found


def test_relative_imports_are_found():
    assert relative({"p.x": "from . import y", "p.y": "from .x import z"}) == ["p.x:1", "p.y:1"]

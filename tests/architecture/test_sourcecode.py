"""Rules of style.md about the text itself, read from the syntax trees: tasks, sleeps, docstrings, what is shipped."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "rmq_client", "rmq_server")

TASK_CALLS = {"create_task", "ensure_future", "run_coroutine_threadsafe"}
TASK_GROUP_NAMES = {"group", "tasks"}
"""A task is created with `group.create_task` or `tasks.create_task`, also as attribute `_group` or `_tasks`; so every
task lives in a TaskGroup that someone awaits."""

BLOCKING_CALLS = {"time.sleep"}
"""Nowhere in what is shipped."""


def trees(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


SHIPPED = list(trees(*PACKAGES))


def calls_of_tasks_outside_groups(tree: ast.Module) -> list[int]:
    """The lines at which a task is created, or a function that does it imported, without a TaskGroup."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "asyncio":
            lines += [node.lineno for alias in node.names if alias.name in TASK_CALLS]
        elif isinstance(node, ast.Attribute) and node.attr in TASK_CALLS:
            receiver = node.value
            name = receiver.attr if isinstance(receiver, ast.Attribute) else getattr(receiver, "id", "")
            if node.attr != "create_task" or name.removeprefix("_") not in TASK_GROUP_NAMES:
                lines.append(node.lineno)
    return lines


def dotted_calls(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def public_without_docstring(tree: ast.Module) -> list[str]:
    """Public functions and classes of a module that do not say what they are."""
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]


def test_every_task_lives_in_a_group():
    assert not [f"{path}:{line}" for path, tree in SHIPPED for line in calls_of_tasks_outside_groups(tree)]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("asyncio.create_task(x)", True),
        ("asyncio.ensure_future(x)", True),
        ("loop.create_task(x)", True),
        ("asyncio.get_running_loop().create_task(x)", True),
        ("spawn = asyncio.create_task", True),
        ("from asyncio import create_task", True),
        ("group.create_task(x)", False),
        ("self._tasks.create_task(x)", False),
        ("from asyncio import TaskGroup", False),
    ],
)
def test_tasks_outside_groups_are_found(source, found):
    assert bool(calls_of_tasks_outside_groups(ast.parse(source))) == found


def test_nothing_that_is_shipped_blocks():
    assert not [
        f"{path}:{line}" for path, tree in SHIPPED for name, line in dotted_calls(tree) if name in BLOCKING_CALLS
    ]


def test_every_module_and_public_name_says_what_it_is():
    silent = [path for path, tree in SHIPPED if not ast.get_docstring(tree)]
    silent += [f"{path}: {name}" for path, tree in SHIPPED for name in public_without_docstring(tree)]
    assert not silent


def test_exactly_three_typed_packages_are_shipped():
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == [f"{package}*" for package in PACKAGES]

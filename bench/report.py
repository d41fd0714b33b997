"""Results as a table for people and as JSON for comparison."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.facts import machine_facts, version_facts

RESULTS = Path(__file__).resolve().parent / "results"
MIB = 1 << 20

_WIDE = 150

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=_WIDE)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> None:
    """Print a table whose first columns are text and the others numbers."""
    shown = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        shown.add_column(column, justify="left" if index < text_columns else "right")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def say(line: str) -> None:
    """Print one line of progress or remark."""
    console.print(line, markup=False)


def document(
    run: str, directory: Path, configuration: Mapping[str, Any], results: Any, versions: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A run as it is written down. directory: where the stores were."""
    return {
        "run": run,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_facts(directory),
        "versions": {**version_facts(), **(versions or {})},
        "configuration": dict(configuration),
        "results": results,
    }


def write(path: Path | None, written: Mapping[str, Any]) -> None:
    """Write a document; a bare file name goes to bench/results."""
    if path is None:
        return
    target = RESULTS / path if path.parent == Path() else path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"written: {target}")

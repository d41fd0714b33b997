"""`python -m bench micro`."""

import asyncio
from pathlib import Path

import click

from bench.micro import brokers, codec, records, stores
from bench.micro.timing import Cost
from bench.options import json_option, store_directory, store_option
from bench.report import document, table, write


@click.command("micro")
@json_option
@store_option
def main(json_file: Path | None, store_root: Path | None) -> None:
    """Codecs, records, the store and a broker without sockets: CPU µs per operation."""
    groups: dict[str, list[Cost]] = {
        "codec": list(codec.costs()),
        "record": list(records.costs()),
        "store": list(stores.costs(store_root)),
        "broker": asyncio.run(brokers.costs(store_root)),
    }
    rows = [
        (group, cost.name, f"{cost.best_us:.2f}", f"{cost.median_us:.2f}")
        for group, costs in groups.items()
        for cost in costs
    ]
    table("CPU µs per message or operation", ("part", "operation", "best", "median"), rows, text_columns=2)
    results = {group: [cost._asdict() for cost in costs] for group, costs in groups.items()}
    write(json_file, document("micro", store_directory(store_root), {}, results))

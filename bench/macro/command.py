"""`python -m bench macro`."""

from pathlib import Path
from typing import Any

import click
import msgspec

from bench.compare.plan import ASYNC_FLUSH, SYNC_FLUSH
from bench.macro.jobs import Outcome
from bench.macro.run import JobError, run_jobs
from bench.options import json_option, store_directory, store_option
from bench.report import MIB, document, say, table, write
from bench.servers import SETTINGS, our_version
from tests.interop.peers import PeerError

_COLUMNS = (
    "flush", "job", "messages", "msg/s", "client µs", "server µs", "p50 ms", "p99 ms", "max ms", "twice",
    "client MiB (anon)", "server MiB (anon)",
)  # fmt: skip


@click.command("macro")
@click.option("--seconds", type=float, default=3.0, show_default=True, help="How long each sending job lasts.")
@click.option("--consumed", type=int, default=100_000, show_default=True, help="Messages that are consumed.")
@click.option("--rate", "per_s", type=int, default=2000, show_default=True, help="msg/s of the end to end job.")
@click.option("--flush", type=click.Choice([ASYNC_FLUSH, SYNC_FLUSH]), help="Only this flush mode.")
@click.option("--job", "words", multiple=True, help="Only jobs whose name contains this; may be repeated.")
@json_option
@store_option
def main(
    seconds: float,
    consumed: int,
    per_s: int,
    flush: str | None,
    words: tuple[str, ...],
    json_file: Path | None,
    store_root: Path | None,
) -> None:
    """Our client against our servers, each a process: CPU per message, msg/s, latency, memory."""
    results: dict[str, list[Outcome]] = {}
    try:
        for mode in (flush,) if flush else (ASYNC_FLUSH, SYNC_FLUSH):
            results[mode] = []
            for outcome in run_jobs(
                mode, seconds=seconds, consumed=consumed, per_s=per_s, store_root=store_root, words=words
            ):
                say(f"{mode} {outcome.name}: {outcome.messages / outcome.seconds:,.0f} msg/s")
                results[mode].append(outcome)
    except (PeerError, JobError) as error:
        raise click.ClickException(str(error)) from error
    rows = [_row(mode, outcome) for mode, outcomes in results.items() for outcome in outcomes]
    table("Our client and our servers, 1 KiB messages: CPU µs per message", _COLUMNS, rows, text_columns=2)
    configuration = {"seconds": seconds, "consumed": consumed, "per_s": per_s, "broker_settings": SETTINGS}
    plain = {mode: [_plain(outcome) for outcome in outcomes] for mode, outcomes in results.items()}
    versions = {"ours": our_version()}
    write(json_file, document("macro", store_directory(store_root), configuration, plain, versions))


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(outcome),
        "client_cpu_us": outcome.client_cpu_s / outcome.messages * 1e6,
        "server_cpu_us": outcome.server_cpu_s / outcome.messages * 1e6,
        "messages_per_s": outcome.messages / outcome.seconds,
    }


def _row(mode: str, outcome: Outcome) -> tuple[str, ...]:
    plain = _plain(outcome)
    latencies = [f"{outcome.latencies_ms[at]:.2f}" for at in (0, 2, 4)] if outcome.latencies_ms else ["", "", ""]
    return (
        mode.removesuffix("_FLUSH").lower(),
        outcome.name,
        f"{outcome.messages:,}",
        f"{plain['messages_per_s']:,.0f}",
        f"{plain['client_cpu_us']:.1f}",
        f"{plain['server_cpu_us']:.1f}",
        *latencies,
        str(outcome.duplicates),
        f"{outcome.client_rss / MIB:.0f} ({outcome.client_anonymous / MIB:.0f})",
        f"{outcome.server_rss / MIB:.0f} ({outcome.server_anonymous / MIB:.0f})",
    )

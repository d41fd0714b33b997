"""`python -m bench compare`."""

from dataclasses import asdict, replace
from pathlib import Path

import click

from bench.compare.plan import ASYNC_FLUSH, QUICK, SYNC_FLUSH, Plan
from bench.compare.run import compare
from bench.compare.show import line, show
from bench.facts import java_version
from bench.load.cases import CASES
from bench.load.control import LoadError
from bench.options import json_option, store_directory, store_option
from bench.report import document, say, write
from bench.servers import APACHE_SETTINGS, BROKER_HEAP, SETTINGS, apache_is_missing, our_version
from tests.interop.peers import REFERENCE, PeerError


@click.command("compare")
@click.option("--quick", is_flag=True, help="Fewer, shorter windows and a colder JVM; a minute and a half.")
@click.option("--windows", type=int, help="Windows of each case, both servers together; even.")
@click.option("--seconds", type=float, help="Length of a window.")
@click.option("--warm-up", type=int, help="Messages that Apache's JVM gets before anything counts.")
@click.option("--flush", type=click.Choice([ASYNC_FLUSH, SYNC_FLUSH]), help="Only this flush mode.")
@click.option("--case", "words", multiple=True, help="Only cases whose name contains this; may be repeated.")
@json_option
@store_option
def main(
    quick: bool,
    windows: int | None,
    seconds: float | None,
    warm_up: int | None,
    flush: str | None,
    words: tuple[str, ...],
    json_file: Path | None,
    store_root: Path | None,
) -> None:
    """Ours against Apache's broker: CPU per message and msg/s, in alternating windows."""
    why = apache_is_missing()
    if why is not None:
        raise click.ClickException(f"Apache's broker cannot run here: {why}")
    plan = _plan(QUICK if quick else Plan(), windows, seconds, warm_up, flush, words)
    results = []
    try:
        for result in compare(plan, store_root):
            say(line(result))
            results.append(result)
    except (PeerError, LoadError) as error:
        raise click.ClickException(str(error)) from error
    show(results)
    configuration = {
        **asdict(plan),
        "broker_settings": SETTINGS,
        "apache_settings": APACHE_SETTINGS,
        "apache_heap": BROKER_HEAP,
    }
    versions = {"ours": our_version(), "apache": REFERENCE, "java": java_version()}
    write(
        json_file,
        document("compare", store_directory(store_root), configuration, [r.plain() for r in results], versions),
    )


def _plan(
    plan: Plan,
    windows: int | None,
    seconds: float | None,
    warm_up: int | None,
    flush: str | None,
    words: tuple[str, ...],
) -> Plan:
    if windows is not None:
        if windows <= 0 or windows % 2:
            raise click.UsageError("windows come in pairs: give an even number")
        plan = replace(plan, windows=windows)
    if seconds is not None:
        plan = replace(plan, window_s=seconds)
    if warm_up is not None:
        plan = replace(plan, warm_messages=warm_up)
    if flush is not None:
        plan = replace(plan, modes=(flush,))
    if words:
        chosen = tuple(case.name for case in CASES if any(word.lower() in case.name.lower() for word in words))
        if not chosen:
            raise click.UsageError(f"no case has that in its name; there are: {', '.join(case.name for case in CASES)}")
        plan = replace(plan, cases=chosen)
    return plan

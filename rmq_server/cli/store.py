"""`rmq store`: look at, check, rebuild, dump and move what is in a store directory, without a broker."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from rmq_server.cli import options
from rmq_server.cli.imports import quick_imports
from rmq_server.cli.launch import failures_as_sentences
from rmq_server.store.errors import StoreError

with quick_imports():
    from rmq_server.core.clock import SystemClock
    from rmq_server.store.delay import DelayLevels
    from rmq_server.store.files import OsFiles
    from rmq_server.store.index import IndexSettings
    from rmq_server.storetools.directory import Progress, StoreDirectory, no_progress
    from rmq_server.storetools.dump import BodyStyle, dump
    from rmq_server.storetools.info import store_info
    from rmq_server.storetools.log import Damage
    from rmq_server.storetools.rebuild import rebuild_in_place, rebuild_into
    from rmq_server.storetools.runs import Problem
    from rmq_server.storetools.select import Selection, select
    from rmq_server.storetools.text import info_lines, moved_lines, problem_line, rebuilt_lines, report_lines
    from rmq_server.storetools.transfer import BadExport, ExportFile, export_topic, import_topic
    from rmq_server.storetools.verify import verify, verify_bytes

_NAME = "rmq store"

directory = click.argument("root", metavar="DIR", type=click.Path(path_type=Path))
commitlog = click.option(
    "--commitlog", type=click.Path(path_type=Path), metavar="DIR", help="The CommitLog, when it is not DIR/commitlog."
)
index_slots = click.option(
    "--index-slots", type=click.IntRange(1), metavar="N", help="maxHashSlotNum, when the index files do not tell."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("store", context_settings=options.CONTEXT)
def main() -> None:
    """Offline tools for store directories of our brokers and of Apache's.

    Reading changes nothing; sizes of files are detected.
    """


@main.command("info")
@directory
@commitlog
@as_json
@click.option("--queues", "with_queues", is_flag=True, help="A line for each queue, not only for each topic.")
def info_command(root: Path, commitlog: Path | None, as_json: bool, with_queues: bool) -> None:
    """Say what is in a store."""
    with _opened(root, commitlog) as store:
        found = store_info(store)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        _echo(info_lines(found, with_queues=with_queues))


@main.command("verify")
@directory
@commitlog
@index_slots
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each problem, and one with the result.")
def verify_command(root: Path, commitlog: Path | None, index_slots: int | None, as_json: bool) -> None:
    """Check every record, queue entry and index chain.

    Every problem is a line that begins with file and byte; exit code 1 when there is any.
    """

    def on_problem(problem: Problem) -> None:
        if as_json:
            line = {"file": str(problem.path), "offset": problem.offset, "problem": problem.text}
            click.echo(msgspec.json.encode(line).decode())
        else:
            click.echo(problem_line(problem))

    with _opened(root, commitlog) as store, _progress("verify", verify_bytes(store, index_slots)) as progress:
        report = verify(store, on_problem, progress, index_slots)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _echo(report_lines(report))
    sys.exit(1 if report.problems else 0)


@main.command("rebuild")
@directory
@commitlog
@click.option("--write", is_flag=True, help="Replace the queues and the index of DIR.")
@click.option("--into", type=click.Path(path_type=Path), metavar="DIR", help="Build in another directory.")
@click.option(
    "--delay-levels",
    metavar="TEXT",
    help="The broker's messageDelayLevel, like \"1s 5s 10s\". Default: what the queues say, then upstream's.",
)
@index_slots
@click.option("--index-entries", type=click.IntRange(2), metavar="N", help="maxIndexNum, together with --index-slots.")
def rebuild_command(
    root: Path,
    commitlog: Path | None,
    write: bool,
    into: Path | None,
    delay_levels: str | None,
    index_slots: int | None,
    index_entries: int | None,
) -> None:
    """Build consume queues and index anew from the CommitLog."""
    if write == (into is not None):
        raise click.UsageError("give either --write or --into DIR")
    if (index_slots is None) != (index_entries is None):
        raise click.UsageError("--index-slots and --index-entries go together")
    index = None if index_slots is None or index_entries is None else IndexSettings(index_slots, index_entries)
    levels = _levels(delay_levels)
    damages = _Damages()
    with failures_as_sentences(_NAME):
        if into is None:
            with _late_progress("rebuild") as started:
                built = rebuild_in_place(
                    root, commitlog, files=OsFiles(), on_damage=damages, progress=started, levels=levels, index=index
                )
        else:
            with StoreDirectory.open(root, commitlog) as store, _progress("rebuild", _log_bytes(store)) as progress:
                built = rebuild_into(
                    store, into, files=OsFiles(), on_damage=damages, progress=progress, levels=levels, index=index
                )
    _echo(rebuilt_lines(built))
    damages.exit()


@main.command("dump")
@directory
@commitlog
@click.option("--topic", metavar="TOPIC", help="Only of this topic.")
@click.option("--queue", "queue_id", type=int, metavar="ID", help="Only of this queue.")
@click.option("--from", "min_offset", type=int, metavar="OFFSET", help="Only from this queue offset on.")
@click.option("--to", "max_offset", type=int, metavar="OFFSET", help="Only up to this queue offset.")
@click.option("--since", metavar="TIME", help="Only stored then or later: ISO 8601, or Unix milliseconds.")
@click.option("--until", metavar="TIME", help="Only stored then or before.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many.")
@click.option(
    "--body",
    type=click.Choice([style.value for style in BodyStyle]),
    default=BodyStyle.AUTO.value,
    show_default=True,
    help="Bodies as what fits, text, base64, or not at all.",
)
def dump_command(
    root: Path,
    commitlog: Path | None,
    topic: str | None,
    queue_id: int | None,
    min_offset: int | None,
    max_offset: int | None,
    since: str | None,
    until: str | None,
    limit: int | None,
    body: str,
) -> None:
    """Print records as JSON lines, in the order of the log."""
    selection = Selection(
        topic=topic,
        queue_id=queue_id,
        min_offset=min_offset,
        max_offset=max_offset,
        since_ms=_time_ms("--since", since),
        until_ms=_time_ms("--until", until),
    )
    damages = _Damages()
    with _opened(root, commitlog) as store, _progress("dump", _log_bytes(store), quiet=sys.stdout.isatty()) as progress:
        records = select(store, selection, on_damage=damages, progress=progress)
        for number, line in enumerate(dump(records, BodyStyle(body)), 1):
            click.echo(line)
            if number == limit:
                break
    damages.exit()


@main.command("export")
@directory
@click.argument("topic")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@commitlog
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def export_command(root: Path, topic: str, file: Path, commitlog: Path | None, force: bool) -> None:
    """Write the messages of TOPIC to FILE."""
    damages = _Damages()
    with _opened(root, commitlog) as store, _progress("export", _log_bytes(store)) as progress:
        if store.topics is not None and store.is_topic_deleted(topic):
            raise StoreError(f"the store has no topic {topic}", path=root)
        records = select(store, Selection(topic=topic), on_damage=damages, progress=progress)
        try:
            with file.open("wb" if force else "xb") as output:
                moved = export_topic(topic, records, output)
        except OSError as error:
            raise StoreError(error.strerror or str(error), path=file) from None
    _echo(moved_lines(moved, f"exported to {file}"))
    damages.exit()


@main.command("import")
@directory
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@commitlog
def import_command(root: Path, file: Path, commitlog: Path | None) -> None:
    """Append the messages of an exported FILE.

    Queue, properties, body, flags and born time of each message stay; its queue offset and store time are new.
    """
    with _opened(root, commitlog) as store:
        try:
            source = file.open("rb")
        except OSError as error:
            raise StoreError(error.strerror or str(error), path=file) from None
        with source, _progress("import", file.stat().st_size) as progress:
            try:
                export = ExportFile(source)
                moved = import_topic(store, export, files=OsFiles(), clock=SystemClock(), progress=progress)
            except BadExport as error:
                raise BadExport(f"{file}: {error}") from None
        is_defined = store.topics is None or moved.topic in store.topics
    _echo(moved_lines(moved, f"imported into {root}"))
    if not is_defined:
        queues = max(moved.queues, default=0) + 1
        click.echo(f"The topic is not defined there: create it with {queues} or more queues before consumers read it.")


# Opening, progress, values


@contextmanager
def _opened(root: Path, commitlog: Path | None) -> Iterator[StoreDirectory]:
    """A store for reading; what is wrong with it or its use becomes a sentence."""
    with failures_as_sentences(_NAME), StoreDirectory.open(root, commitlog) as store:
        if store.holder is not None:
            who = f"process {store.holder}" if store.holder else "a process"
            click.echo(f"{_NAME}: {who} has the store open: what it writes meanwhile may look unfinished", err=True)
        yield store


@contextmanager
def _progress(what: str, total: int, *, quiet: bool = False) -> Iterator[Progress]:
    with _late_progress(what, quiet=quiet) as started:
        yield started(total)


@contextmanager
def _late_progress(what: str, *, quiet: bool = False) -> Iterator[Callable[[Any], Progress]]:
    """Shows a bar on stderr, where that is a terminal; given the bytes to come, or the store they are in."""
    if quiet or not sys.stderr.isatty():
        yield lambda total: no_progress
        return
    from rich.console import Console  # lazy: not needed for --help
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = ("{task.description}", BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    # Lines for stdout go around the bar only where both are on the screen: a file must get them as they are.
    console, is_shared = Console(stderr=True), sys.stdout.isatty()
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True, redirect_stdout=is_shared) as bar:

        def start(total: int | StoreDirectory) -> Progress:
            task = bar.add_task(what, total=_log_bytes(total) if isinstance(total, StoreDirectory) else total)
            return lambda done: bar.advance(task, done)

        yield start


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _log_bytes(store: StoreDirectory) -> int:
    return sum(segment.end - segment.start for segment in store.log.segments)


class _Damages:
    """Says on stderr what of the log was passed over."""

    def __init__(self) -> None:
        self._kinds: Counter[bool] = Counter()

    def __call__(self, damage: Damage) -> None:
        self._kinds[damage.is_tail] += 1
        place = f"{damage.segment.path} at byte {damage.offset - damage.segment.start}"
        if damage.is_tail:
            click.echo(f"{_NAME}: {place}: the log ends, what follows is left over from a crash", err=True)
        else:
            click.echo(f"{_NAME}: {place}: passed over: {damage.reason}", err=True)

    def exit(self) -> None:
        """Exit code 1 when records may be missing."""
        if self._kinds[False]:
            sys.exit(1)


def _levels(text: str | None) -> DelayLevels | None:
    try:
        return None if text is None else DelayLevels(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--delay-levels") from None


def _time_ms(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise click.BadParameter(f"{text} is neither ISO 8601 nor Unix milliseconds", param_hint=option) from None

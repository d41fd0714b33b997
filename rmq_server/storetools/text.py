"""What the tools found, as lines for people."""

import textwrap
from collections.abc import Iterator
from datetime import datetime

from rmq_server.storetools.info import FileInfo, StoreInfo
from rmq_server.storetools.rebuild import Rebuilt
from rmq_server.storetools.runs import Problem
from rmq_server.storetools.transfer import Moved
from rmq_server.storetools.verify import Report

_KIB = 1024
_NAMES = 11
_WIDTH = 100


def problem_line(problem: Problem) -> str:
    """One problem, file and byte first."""
    place = "" if problem.offset is None else f" at byte {problem.offset}"
    return f"{problem.path}{place}: {problem.text}"


def report_lines(report: Report) -> Iterator[str]:
    """The result of `verify`."""
    for note in report.notes:
        yield f"note: {note}"
    yield (
        f"{_count(report.records, 'record')} in {_size(report.log_bytes)}, "
        f"{_count(report.queue_entries, 'entry')} in {_count(report.queues, 'queue')}, "
        f"{_count(report.index_entries, 'entry')} in {_count(report.index_files, 'index file')}: "
        + (f"{_count(report.problems, 'problem')}" if report.problems else "no problems")
    )


def rebuilt_lines(built: Rebuilt) -> Iterator[str]:
    """The result of `rebuild`."""
    kept = f", {built.kept_queues} of them without messages" if built.kept_queues else ""
    yield f"Rebuilt in {built.directory} from {_count(built.records, 'record')}:"
    yield f"  {_count(built.queue_entries, 'entry')} in {_count(built.queues, 'queue')}{kept}"
    yield f"  {_count(built.index_entries, 'entry')} in {_count(built.index_files, 'index file')}"


def moved_lines(moved: Moved, what: str) -> Iterator[str]:
    """The result of `export` or `import`; what: where to."""
    yield f"{moved.topic}: {_count(moved.messages, 'message')}, {_size(moved.body_bytes)} of bodies, {what}"
    for queue_id, count in moved.queues.items():
        yield f"  queue {queue_id}: {_count(count, 'message')}"


def info_lines(found: StoreInfo, *, with_queues: bool) -> Iterator[str]:
    """What `info` found; with_queues: each queue, not only each topic."""
    state = "after a crash, or while it runs (abort is there)" if found.crashed else "stopped properly"
    broker = f"process {found.broker or '?'} has it open" if found.broker is not None else "no broker has it open"
    offsets = f"offsets {found.min_physical_offset:,} to {found.max_physical_offset:,}"
    rows = [
        ("store", found.directory),
        ("state", f"{state}; {broker}"),
        ("commitlog", f"{_count(len(found.segments), 'file')} of {_size(found.commitlog_file_bytes)}, {offsets}"),
        ("stored", f"{_time(found.first_store_time_ms)} to {_time(found.last_store_time_ms)}"),
        ("queues", f"files of {_size(found.consumequeue_file_bytes)}"),
        ("index", _files(found.index_files)),
        ("checkpoint", ", ".join(_mark(name, value) for name, value in found.checkpoint.items() if value)),
        ("config", _files(found.config_files)),
        ("other", _files(found.other_files)),
    ]
    for name, text in rows:
        yield from _wrapped(name, text or "-")
    for problem in found.problems:
        yield f"{'problem':<{_NAMES}}{problem}"
    yield ""
    yield from _topic_lines(found, with_queues=with_queues)
    unused = [topic.topic for topic in found.topics if not topic.queues]
    if unused:
        yield ""
        yield from _wrapped("no queues", ", ".join(unused))


def _topic_lines(found: StoreInfo, *, with_queues: bool) -> Iterator[str]:
    used = [topic for topic in found.topics if topic.queues]
    width = max([len(topic.topic) for topic in used] + [len("topic")]) + 2
    yield (
        f"{'topic':<{width}}"
        + (f"{'queue':>6}{'min':>13}{'max':>13}" if with_queues else "queues")
        + f"{'messages':>13}"
    )
    for topic in used:
        undefined = "" if topic.is_defined is not False else "  not in topics.json"
        if not with_queues:
            yield f"{topic.topic:<{width}}{len(topic.queues):>6}{topic.messages:>13,}{undefined}"
            continue
        for queue in topic.queues:
            place = f"{queue.queue_id:>6}{queue.min_offset:>13,}{queue.max_offset:>13,}"
            yield f"{topic.topic:<{width}}{place}{queue.messages:>13,}{undefined}"


def _wrapped(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{name:<{_NAMES}}",
        subsequent_indent=" " * _NAMES,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _files(files: list[FileInfo]) -> str:
    return ", ".join(f"{each.file} ({_size(each.bytes)})" for each in files)


def _mark(name: str, value: int) -> str:
    label, is_time, _ = name.partition("_timestamp_ms")
    return f"{label.replace('_', ' ')} {_time(value) if is_time else format(value, ',')}"


def _time(ms: int | None) -> str:
    if ms is None:
        return "-"
    try:
        return datetime.fromtimestamp(ms / 1000).isoformat(" ", "milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(ms)


def _count(count: int, what: str) -> str:
    plural = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{count:,} {what if count == 1 else plural}"


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < _KIB or unit == "GiB":
            break
        size /= _KIB
    return f"{size:,.0f} {unit}" if unit == "bytes" or size == int(size) else f"{size:,.1f} {unit}"

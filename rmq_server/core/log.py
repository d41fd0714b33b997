"""Logs of the servers: structlog events that travel through standard `logging`.

An event is a short constant phrase; everything else is key-value. `get_logger` works before and without `configure`: an
application that embeds a server sees our events as records of the logger `rmq_server`, and hears warnings only until it
asks for more. `configure` is for the programs alone.
"""

import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from enum import StrEnum
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, cast

import structlog
from structlog.typing import Processor

ROOT = "rmq_server"
LEVELS = ("debug", "info", "warning", "error")

_FILE_BYTES = 64 * 1024 * 1024
_FILES = 10

EventDict = MutableMapping[str, Any]


class LogFormat(StrEnum):
    """How a line looks."""

    CONSOLE = "console"
    JSON = "json"


class RateLimit:
    """A structlog processor: of one warning or error at most `burst` lines in `window_s`.

    The first line after a silence says how many were left out, as `suppressed`.
    """

    def __init__(
        self, burst: int = 20, window_s: float = 10.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._window_s = window_s
        self._monotonic = monotonic
        self._seen: dict[str, list[float]] = {}  # event -> [window start, lines in it, suppressed]

    def __call__(self, logger: Any, method: str, event: EventDict) -> EventDict:
        if method in ("debug", "info"):
            return event
        now = self._monotonic()
        state = self._seen.setdefault(str(event.get("event")), [now, 0, 0])
        if now - state[0] >= self._window_s:
            state[:2] = now, 0
        state[1] += 1
        if state[1] > self._burst:
            state[2] += 1
            raise structlog.DropEvent
        if state[2]:
            event["suppressed"] = int(state[2])
            state[2] = 0
        return event


class Event:
    """What a log record carries: the event as a value; as text, for handlers that are not ours, one line."""

    def __init__(self, fields: EventDict) -> None:
        self.fields = fields

    def __str__(self) -> str:
        pairs = [f"{key}={value}" for key, value in self.fields.items() if key not in ("event", "level", "exc_info")]
        return " ".join((str(self.fields["event"]), *pairs))


class _Formatter(logging.Formatter):
    """Renders our events and other libraries' records alike."""

    def __init__(self, render: Callable[[Any, str, EventDict], str | bytes]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, Event):
            fields = dict(record.msg.fields)
        else:
            fields = {"event": record.getMessage(), "level": record.levelname.lower()}
        fields["timestamp"] = _timestamp(record.created)
        fields["logger"] = record.name.removeprefix(ROOT + ".")
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        return cast("str", self._render(None, record.levelname.lower(), fields))


def get_logger(name: str = "", **context: Any) -> structlog.stdlib.BoundLogger:
    """A logger of one part, such as `namesrv.routes`, with key-values that each of its events carries."""
    return cast(
        "structlog.stdlib.BoundLogger",
        structlog.wrap_logger(
            logging.getLogger(f"{ROOT}.{name}" if name else ROOT),
            processors=_PROCESSORS,
            wrapper_class=structlog.stdlib.BoundLogger,
            context_class=dict,
        ).bind(**context),
    )


def configure(
    style: LogFormat = LogFormat.CONSOLE, level: str = "info", directory: Path | None = None, program: str = "rocketmq"
) -> None:
    """Send all logs of this process to stderr, or to rotating files `<program>.log` in `directory`.

    Raises: OSError when the directory cannot be written.
    """
    handler: logging.Handler
    if directory is None:
        handler = logging.StreamHandler(sys.stderr)
        colors = sys.stderr.isatty()
    else:
        directory.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            directory / f"{program}.log", maxBytes=_FILE_BYTES, backupCount=_FILES - 1, encoding="utf-8"
        )
        colors = False
    handler.setFormatter(_Formatter(_renderer(style, colors)))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(level.upper())
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _renderer(style: LogFormat, colors: bool) -> Callable[[Any, str, EventDict], str | bytes]:
    if style is LogFormat.CONSOLE:
        return structlog.dev.ConsoleRenderer(
            colors=colors, sort_keys=False, pad_event_to=32, exception_formatter=structlog.dev.plain_traceback
        )
    dump = structlog.processors.JSONRenderer(ensure_ascii=False)

    def render(logger: Any, method: str, event: EventDict) -> str | bytes:
        return dump(logger, method, structlog.processors.format_exc_info(logger, method, event))

    return render


def _to_record(logger: Any, method: str, event: EventDict) -> tuple[tuple[Event], dict[str, Any]]:
    """The last processor: its result is the call of the standard logger's method."""
    exc_info = event.pop("exc_info", None)
    return (Event(event),), {"exc_info": exc_info} if exc_info else {}


def _timestamp(created: float) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(created))}.{int(created * 1000) % 1000:03d}"


_PROCESSORS: list[Processor] = [
    structlog.stdlib.filter_by_level,
    structlog.stdlib.add_log_level,
    RateLimit(),
    _to_record,
]

"""Logs: what a line looks like, where it goes, and what is left out."""

import json
import logging
import sys
from pathlib import Path

import pytest
import structlog

from rmq_server.core import log


@pytest.fixture
def configure():
    """`log.configure`, undone at the end: the root logger belongs to pytest."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    yield log.configure
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = handlers, level
    logging.getLogger(log.ROOT).setLevel(logging.NOTSET)
    structlog.reset_defaults()


def lines(directory: Path) -> list[str]:
    return (directory / "mqbroker.log").read_text().splitlines()


def test_json_lines_carry_event_context_and_exception(configure, tmp_path) -> None:
    configure(log.LogFormat.JSON, "info", tmp_path, "mqbroker")
    logger = log.get_logger("test", broker="broker-a")
    logger.debug("too fine")
    logger.info("broker registered", topics=3, name="Gänse")
    try:
        raise KeyError("x")
    except KeyError:
        logger.error("handler failed", exc_info=True)
    first, second = map(json.loads, lines(tmp_path))
    assert {**first, "timestamp": ""} == {
        "event": "broker registered",
        "level": "info",
        "logger": "test",
        "broker": "broker-a",
        "topics": 3,
        "name": "Gänse",
        "timestamp": "",
    }
    assert "KeyError: 'x'" in second["exception"]


def test_console_lines_keep_the_order_of_the_values(configure, tmp_path) -> None:
    configure(log.LogFormat.CONSOLE, "info", tmp_path, "mqbroker")
    log.get_logger("test").info("broker registered", topics=3, address="10.0.0.1:10911")
    (line,) = lines(tmp_path)
    assert line.split()[2:] == ["[info", "]", "broker", "registered", "[test]", "topics=3", "address=10.0.0.1:10911"]


def test_records_of_other_libraries_look_the_same(configure, tmp_path) -> None:
    configure(log.LogFormat.JSON, "debug", tmp_path, "mqbroker")
    logging.getLogger("asyncio").error("Task %s was lost", 3)
    logging.getLogger("asyncio").info("noise")
    (line,) = map(json.loads, lines(tmp_path))
    assert (line["event"], line["level"], line["logger"]) == ("Task 3 was lost", "error", "asyncio")


def test_stderr_is_the_default(configure, capsys) -> None:
    configure()
    log.get_logger("test").warning("disk is full", path="/x")
    captured = capsys.readouterr()
    assert "disk is full" in captured.err
    assert captured.out == ""
    assert sys.stderr.isatty() or "\x1b" not in captured.err


def test_unconfigured_an_event_is_a_record_that_reads_as_one_line(caplog) -> None:
    log.get_logger("test", broker="broker-a").warning("disk is full", path="/x")
    (record,) = caplog.records
    assert record.name == "rmq_server.test"
    assert record.getMessage() == "disk is full broker=broker-a path=/x"


def test_repeated_warnings_are_counted_and_not_written() -> None:
    now = [0.0]
    limit = log.RateLimit(burst=2, window_s=10, monotonic=lambda: now[0])

    def passes(event: str, method: str = "warning") -> dict | None:
        try:
            return dict(limit(None, method, {"event": event}))
        except structlog.DropEvent:
            return None

    assert [passes("refused") is not None for _ in range(5)] == [True, True, False, False, False]
    assert passes("other") == {"event": "other"}
    assert all(passes("refused", "info") for _ in range(5))
    now[0] = 10.0
    assert passes("refused") == {"event": "refused", "suppressed": 3}
    assert passes("refused") == {"event": "refused"}

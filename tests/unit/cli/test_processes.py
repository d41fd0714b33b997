"""Finding our servers among all processes."""

import os
import socket

import pytest
from click.testing import CliRunner

from rmq_server.cli import mqshutdown, processes


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("/venv/bin/python3 /venv/bin/mqnamesrv", "mqnamesrv"),
        ("/venv/bin/python3.11 /venv/bin/mqbroker -n 127.0.0.1:9876", "mqbroker"),
        ("python -m rmq_server mqbroker -c broker.conf", "mqbroker"),
        ("python -X importtime -u -m rmq_server namesrv", "mqnamesrv"),
        ("pypy3 -m rmq_server broker", "mqbroker"),
        ("/usr/local/bin/mqbroker", "mqbroker"),
        ("python -m rmq_server rmq standalone", None),
        ("python -m pytest mqbroker", None),
        ("python -m", None),
        ("python", None),
        ("/venv/bin/python3 /venv/bin/mqshutdown broker", None),
        ("vim mqbroker", None),
        ("sh mqbroker -n 127.0.0.1:9876", None),
        ("", None),
    ],
)
def test_command_lines(line, program) -> None:
    assert processes.program_of(line.split()) == program


@pytest.mark.skipif(not processes._HAS_PROC, reason="asks lsof here")
def test_who_listens_on_a_port() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        assert not processes._listens(os.getpid(), port)
        listening.listen()
        assert processes._listens(os.getpid(), port)
    assert not processes._listens(os.getpid(), port)


@pytest.mark.parametrize(
    ("pids", "arguments", "output", "code"),
    [
        ([], ["broker"], ["No mqbroker running."], 1),
        ([], ["namesrv"], ["No mqnamesrv running."], 1),
        ([], ["namesrv", "--port", "9876"], ["No mqnamesrv running on port 9876."], 1),
        (
            [1, 2],
            ["broker"],
            [
                "The mqbroker(1) is running...",
                "Send shutdown request to mqbroker(1) OK",
                "The mqbroker(2) is running...",
                "Send shutdown request to mqbroker(2) OK",
            ],
            0,
        ),
    ],
)
def test_mqshutdown_prints_upstreams_lines(pids, arguments, output, code, monkeypatch) -> None:
    killed = []
    monkeypatch.setattr(mqshutdown, "find", lambda program, port: pids)
    monkeypatch.setattr(mqshutdown.os, "kill", lambda pid, number: killed.append(pid))
    result = CliRunner().invoke(mqshutdown.main, arguments)
    assert (result.stdout.splitlines(), result.exit_code, killed) == (output, code, pids)


def test_mqshutdown_says_when_it_may_not(monkeypatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(mqshutdown, "find", lambda program, port: [7])
    monkeypatch.setattr(mqshutdown.os, "kill", refuse)
    result = CliRunner().invoke(mqshutdown.main, ["broker"])
    assert result.exit_code == 1
    assert result.stderr == "mqshutdown: mqbroker(7) belongs to another user\n"

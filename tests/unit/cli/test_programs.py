"""The programs' options: help, printed settings, and errors in one sentence."""

import sys

import pytest
from click.testing import CliRunner, Result

from rmq_server.broker.config import BrokerConfig
from rmq_server.cli import imports, mqbroker, mqnamesrv, rmq, standalone
from rmq_server.cli.broker_settings import broker_config, split_advertised
from rmq_server.core.config import Given, load
from rmq_server.core.errors import StartupError
from rmq_server.core.known_keys import BROKER_KEYS


def run(command, *arguments: str, **environment: str) -> Result:
    return CliRunner(env={"NAMESRV_ADDR": None, **environment}).invoke(command.main, arguments)


def printed(result: Result) -> dict[str, str]:
    assert result.exit_code == 0, result.output
    return dict(line.split("=", 1) for line in result.stdout.splitlines())


@pytest.mark.parametrize("letter", ["-h", "--help"])
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (mqnamesrv, "-c, --configFile"),
        (mqnamesrv, "-n, --namesrvAddr"),
        (mqbroker, "-m, --printImportantConfig"),
        (mqbroker, "--advertise HOST[:PORT]"),
        (standalone, "--ephemeral"),
        (rmq, "standalone  Start a NameServer and a broker in one process."),
    ],
)
def test_help(command, words, letter) -> None:
    result = run(command, letter)
    assert result.exit_code == 0
    assert words in result.stdout


def test_mqnamesrv_prints_its_settings(tmp_path) -> None:
    file = tmp_path / "namesrv.conf"
    file.write_text("listenPort=9999\nkvConfigPath=/x/kv.json\n")
    settings = printed(run(mqnamesrv, "-c", str(file), "-p", "-n", "ignored:1", "--host", "0.0.0.0"))
    assert settings["listenPort"] == "9999"
    assert settings["kvConfigPath"] == "/x/kv.json"
    assert settings["bindAddress"] == "0.0.0.0"
    assert settings["orderMessageEnable"] == "false"


def test_mqbroker_prints_its_settings(tmp_path) -> None:
    file = tmp_path / "broker.conf"
    file.write_text("brokerName=broker-z\nnamesrvAddr=file:9876\n")
    arguments = ("-c", str(file), "-p", "--store", "/x", "--port", "0")
    settings = printed(run(mqbroker, *arguments))
    assert settings["namesrvAddr"] == "file:9876"
    assert settings["storePathRootDir"] == "/x"
    assert settings["listenPort"] == "0"
    assert printed(run(mqbroker, *arguments, NAMESRV_ADDR="env:9876"))["namesrvAddr"] == "env:9876"
    assert printed(run(mqbroker, *arguments, "-n", "arg:9876", NAMESRV_ADDR="env:9876"))["namesrvAddr"] == "arg:9876"
    important = printed(run(mqbroker, "-c", str(file), "-m"))
    assert important.items() < printed(run(mqbroker, "-c", str(file), "-p")).items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("-c", "no/such.conf"),
            "mqbroker: cannot read the configuration file no/such.conf: No such file or directory",
        ),
        (("--enable-proxy",), "mqbroker: --enable-proxy is not supported yet"),
        (("--advertise", "host:x"), "mqbroker: --advertise host:x: not of the form HOST or HOST:PORT"),
    ],
)
def test_what_cannot_be_is_one_sentence_on_stderr(arguments, message) -> None:
    result = run(mqbroker, *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(message)
    assert len(result.stderr.splitlines()) == 1


def test_each_problem_of_a_file_has_a_line(tmp_path) -> None:
    file = tmp_path / "broker.conf"
    file.write_text("aclEnable=true\nlistenPrt=1\n")
    result = run(mqbroker, "-c", str(file))
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first.startswith(f"mqbroker: {file}:1: aclEnable=true is refused: access control is not supported yet")
    assert second == f"mqbroker: {file}:2: unknown key `listenPrt`; did you mean `listenPort`?"


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_a_port_that_is_none_is_refused(port) -> None:
    result = run(mqnamesrv, "--port", port)
    assert result.exit_code == 2
    assert "is not a port: allowed are 0 to 65535" in result.stderr


def test_an_unknown_command_of_rmq_is_an_error() -> None:
    assert run(rmq, "stndalone").exit_code == 2


# What is derived


def broker(*given: tuple[str, str], **changes) -> BrokerConfig:
    arguments = [Given(key, value, "test") for key, value in given]
    return broker_config(load([BrokerConfig], BROKER_KEYS, arguments=arguments), **changes)


@pytest.mark.parametrize(
    ("given", "bound"),
    [
        ((), "127.0.0.1"),
        ((("brokerIP1", "127.0.0.1"),), "127.0.0.1"),
        ((("brokerIP1", "localhost"),), "127.0.0.1"),
        ((("brokerIP1", "10.0.0.5"),), "0.0.0.0"),
        ((("brokerIP1", "broker.example.com"),), "0.0.0.0"),
        ((("brokerIP1", "10.0.0.5"), ("bindAddress", "127.0.0.1")), "127.0.0.1"),
        ((("bindAddress", "0.0.0.0"),), "0.0.0.0"),
    ],
)
def test_an_address_for_others_means_to_listen_to_others(given, bound) -> None:
    assert broker(*given).bind_address == bound


@pytest.mark.parametrize(
    ("host", "name"), [("laptop", "laptop"), ("node-1.example.com", "node-1-example-com"), ("ü", "DEFAULT_BROKER")]
)
def test_a_broker_without_a_name_gets_the_hosts(host, name, monkeypatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert broker().broker_name == name
    assert broker(name="broker-a").broker_name == "broker-a"
    assert broker(("brokerName", "z"), name="broker-a").broker_name == "z"


@pytest.mark.parametrize(
    ("text", "split"),
    [(None, (None, 0)), ("h", ("h", 0)), ("h:7", ("h", 7)), ("[::1]:7", ("::1", 7)), ("::1", ("::1", 0))],
)
def test_the_advertised_address_is_split(text, split) -> None:
    assert split_advertised(text) == split


def test_a_malformed_advertised_address_is_refused() -> None:
    with pytest.raises(StartupError):
        split_advertised("h:70000")


def test_rich_is_hidden_only_while_structlog_is_imported(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "structlog")
    monkeypatch.delitem(sys.modules, "rich", raising=False)
    with imports.quick_imports():
        assert sys.modules["rich"] is None
    assert "rich" not in sys.modules

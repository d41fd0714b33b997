"""Loading settings: sources, kinds of keys, errors that say what to change."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from rmq_server.core.config import ConfigError, Given, given_arguments, load, properties_of, setting
from rmq_server.core.known_keys import BROKER_KEYS, NAMESRV_KEYS
from rmq_server.core.promises import PROMISES


class Flush(StrEnum):
    SYNC_FLUSH = "SYNC_FLUSH"
    ASYNC_FLUSH = "ASYNC_FLUSH"


@dataclass(frozen=True, kw_only=True)
class Net:
    port: int = setting(10911, "listenPort", low=0, high=65535)
    namesrv: str = setting("", "namesrvAddr")
    host: str | None = setting(None, "brokerIP1")
    derived: int = 7


@dataclass(frozen=True, kw_only=True)
class Disk:
    port: int = setting(10911, "listenPort")
    flush: Flush = setting(Flush.SYNC_FLUSH, "flushDiskType")  # noqa: RUF009 -- a dataclass field
    is_long: bool = setting(True, "longPollingEnable")
    ratio: float = setting(0.8, "logicalDiskSpaceCleanForciblyThreshold")
    root: Path = setting(lambda: Path("/var/store"), "storePathRootDir")  # noqa: RUF009

    def __post_init__(self) -> None:
        if str(self.root) == "/":
            raise ValueError("storePathRootDir must not be the root of the file system")


def loaded(text: str = "", tmp_path: Path | None = None, **more):
    file = None
    if tmp_path is not None:
        file = tmp_path / "broker.conf"
        file.write_text(text, "utf-8")
    return load([Net, Disk], BROKER_KEYS, file=file, **more)


def test_defaults() -> None:
    settings = loaded()
    assert settings[Net] == Net()
    assert settings[Disk].root == Path("/var/store")
    assert settings.notes == ()
    assert not settings.is_set("listenPort")


@pytest.mark.parametrize(
    ("line", "part", "field", "value"),
    [
        ("listenPort=1", Net, "port", 1),
        ("listenPort=1", Disk, "port", 1),
        ("brokerIP1=10.0.0.1", Net, "host", "10.0.0.1"),
        ("brokerIP1=", Net, "host", None),
        ("flushDiskType = async_flush", Disk, "flush", Flush.ASYNC_FLUSH),
        ("longPollingEnable=FALSE", Disk, "is_long", False),
        ("logicalDiskSpaceCleanForciblyThreshold=0.5", Disk, "ratio", 0.5),
        ("storePathRootDir=~/x", Disk, "root", Path.home() / "x"),
    ],
)
def test_a_line_sets_every_field_of_its_key(line, part, field, value, tmp_path) -> None:
    settings = loaded(line, tmp_path)
    assert getattr(settings[part], field) == value
    assert settings.is_set(line.partition("=")[0].strip())


def test_defaults_then_file_then_environment_then_arguments(tmp_path) -> None:
    environment = {"NAMESRV_ADDR": "env:9876", "PATH": "/bin"}
    assert loaded("", tmp_path, environment=environment)[Net].namesrv == "env:9876"
    file = "namesrvAddr=file:9876\nlistenPort=1"
    assert loaded(file, tmp_path)[Net].namesrv == "file:9876"
    assert loaded(file, tmp_path, environment=environment)[Net].namesrv == "env:9876"
    arguments = given_arguments(("namesrvAddr", "arg:9876", "-n"), ("listenPort", None, "--port"))
    settings = loaded(file, tmp_path, environment=environment, arguments=arguments)
    assert settings[Net] == Net(port=1, namesrv="arg:9876")
    assert settings.notes == ()


def test_variables_for_other_servers_are_passed_over() -> None:
    load([Disk], BROKER_KEYS, environment={"NAMESRV_ADDR": "127.0.0.1:9876"})


def test_upstreams_own_broker_conf_loads(tmp_path) -> None:
    text = "\n".join(
        (
            "brokerClusterName = DefaultCluster",
            "brokerName = broker-a",
            "brokerId = 0",
            "deleteWhen = 04",
            "fileReservedTime = 48",
            "brokerRole = ASYNC_MASTER",
            "flushDiskType = ASYNC_FLUSH",
        )
    )
    settings = loaded(text, tmp_path)
    assert settings[Disk].flush is Flush.ASYNC_FLUSH
    assert [note.given.key for note in settings.notes] == ["brokerName", "fileReservedTime"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listenPort=x", ":1: listenPort=x: not a whole number"),
        ("listenPort=65536", ":1: listenPort=65536: allowed are 0 to 65535"),
        ("longPollingEnable=yes", ":1: longPollingEnable=yes: neither true nor false"),
        ("logicalDiskSpaceCleanForciblyThreshold=much", "not a number"),
        ("flushDiskType=MAYBE", "flushDiskType=MAYBE: allowed are SYNC_FLUSH, ASYNC_FLUSH"),
        ("\nlistenprot=1", ":2: unknown key `listenprot`; did you mean `listenPort`?"),
        ("autoCreateTopicEnabled=true", "did you mean `autoCreateTopicEnable`?"),
        ("zzz=1", ":1: unknown key `zzz`"),
        ("aclEnable=true", ":1: aclEnable=true is refused: access control is not supported yet"),
        ("brokerRole=SLAVE", "brokerRole=SLAVE is refused: replication is not supported yet"),
        ("tls.server.mode=permissive", "TLS is not supported yet"),
        ("tls.server.certPath=/a", "TLS is not supported yet"),
        ("storePathRootDir=/", "storePathRootDir must not be the root of the file system"),
    ],
)
def test_errors_name_place_key_and_reason(text, message, tmp_path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(text, tmp_path)
    assert message in str(caught.value)


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("listenPort=x\naclEnable=true\nnope=1", tmp_path)
    assert [line.partition(" ")[0] for line in str(caught.value).splitlines()] == [
        f"{tmp_path}/broker.conf:{number}:" for number in (1, 2, 3)
    ]


def test_an_argument_is_named_by_its_option() -> None:
    with pytest.raises(ConfigError, match=r"^--port: listenPort=-1: allowed are 0 to 65535$"):
        loaded(arguments=[Given("listenPort", "-1", "--port")])


@pytest.mark.parametrize("key", PROMISES)
def test_a_promise_that_says_what_we_do_is_silent(key, tmp_path) -> None:
    settings = loaded(f"{key}={PROMISES[key].kept[0]}", tmp_path)
    assert settings.notes == ()


def test_unsupported_keys_are_noted_unless_they_say_upstreams_default(tmp_path) -> None:
    settings = loaded("fileReservedTime=72\nsendMessageThreadPoolNums=4\ndeleteWhen=05", tmp_path)
    assert [(note.given.key, note.reason) for note in settings.notes] == [
        ("sendMessageThreadPoolNums", "not supported"),
        ("deleteWhen", "not supported"),
    ]


def test_a_key_that_is_set_twice_is_noted(tmp_path) -> None:
    settings = loaded("listenPort=1\nlistenPort=2\nlistenPort=2", tmp_path)
    assert settings[Net].port == 2
    (note,) = settings.notes
    assert note.given.value == "1"
    assert note.reason.endswith("broker.conf:2, which counts")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(content, tmp_path) -> None:
    file = tmp_path / "broker.conf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot read the configuration file .*broker\.conf"):
        load([Net], BROKER_KEYS, file=file)


def test_settings_print_as_upstream_prints_them() -> None:
    assert properties_of(Disk()) == {
        "listenPort": "10911",
        "flushDiskType": "SYNC_FLUSH",
        "longPollingEnable": "true",
        "logicalDiskSpaceCleanForciblyThreshold": "0.8",
        "storePathRootDir": "/var/store",
    }
    assert properties_of(Net())["brokerIP1"] == ""


def test_the_known_keys_are_upstreams() -> None:
    assert len(BROKER_KEYS) > 400
    assert BROKER_KEYS["messageDelayLevel"] == "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"
    assert BROKER_KEYS["brokerName"] is None
    assert NAMESRV_KEYS["listenPort"] == "9876"

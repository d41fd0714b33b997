"""Apache RocketMQ's own programs, run from the published jars.

Each process gets its own directory, which is its ROCKETMQ_HOME and its home, so nothing is read from or written to
the user's. The options that need a comment:

- 5.x looks for the file named by `rmq.logback.configurationFile`, 4.x for conf/logback_<part>.xml; without one 5.x logs
  everything to the console.
- the `--add-opens` and `--add-exports` are what upstream's own start scripts give to Java 9 and later.
- a broker refuses writes when the disk is fuller than its ratios, also where plenty of bytes are left: they are raised.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.interop.peers import cache
from tests.interop.peers.cluster import Cluster, wait_for_route
from tests.interop.peers.process import Program, free_port

BROKER_NEIGHBOURS = (-2, 1)
"""What a broker opens besides its port: VIP channel and HA."""

_LOGBACK = """<configuration><statusListener class="ch.qos.logback.core.status.NopStatusListener"/>
<appender name="file" class="ch.qos.logback.core.FileAppender"><file>{log}</file>
<encoder><pattern>%d{{HH:mm:ss.SSS}} %p %t %c{{0}} - %m%n</pattern></encoder></appender>
<root level="WARN"><appender-ref ref="file"/></root></configuration>
"""
_LOGBACK_NAMES = ("logback.xml", "logback_namesrv.xml", "logback_broker.xml", "logback_tools.xml")
_JVM = (
    "-Dfile.encoding=UTF-8",
    "-Drocketmq.broker.diskSpaceWarningLevelRatio=0.98",
    "-Drocketmq.broker.diskSpaceCleanForciblyRatio=0.97",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
)
SERVER_JVM = ("-XX:+UseG1GC", "-XX:MaxDirectMemorySize=1g")
"""As upstream starts servers."""
SMALL_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=256m")
"""For programs that should start quickly and live briefly."""


def java(
    name: str,
    arguments: Sequence[str],
    directory: Path,
    *,
    version: str = cache.REFERENCE,
    classes: Path | None = None,
    heap: str = "128m",
    jvm: Sequence[str] = SMALL_JVM,
    prefix: Sequence[str] = (),
    codec: str = "JSON",
) -> Program:
    """Start a Java program, `arguments` being main class and arguments, on the class path of one published version.

    `classes` is put before that class path; `codec` is the header that clients and servers then send, JSON or
    ROCKETMQ; `prefix` as for Program.
    """
    directory.mkdir(parents=True, exist_ok=True)
    conf = directory / "conf"
    conf.mkdir(exist_ok=True)
    for logback in _LOGBACK_NAMES:
        (conf / logback).write_text(_LOGBACK.format(log=directory / f"{name}.log"), encoding="utf-8")
    class_path = f"{cache.jars(version)}/*"
    command = [
        "java", f"-Xms{heap}", f"-Xmx{heap}", *jvm, *_JVM,
        f"-Duser.home={directory}",
        f"-Drmq.logback.configurationFile={conf / 'logback.xml'}",
        f"-Drocketmq.serialize.type={codec}",
        "-cp", f"{classes}:{class_path}" if classes else class_path,
        *arguments,
    ]  # fmt: skip
    environment = {"ROCKETMQ_HOME": str(directory), "LC_ALL": "C.UTF-8"}
    return Program(name, command, directory, environment=environment, prefix=prefix)


def namesrv(
    directory: Path,
    port: int,
    *,
    version: str = cache.REFERENCE,
    heap: str = "128m",
    prefix: Sequence[str] = (),
) -> Program:
    """Start Apache's nameserver; it is not yet ready when this returns."""
    directory.mkdir(parents=True, exist_ok=True)
    conf = _properties(directory / "namesrv.conf", {"listenPort": port})
    arguments = ["org.apache.rocketmq.namesrv.NamesrvStartup", "-c", str(conf)]
    return java("namesrv", arguments, directory, version=version, heap=heap, jvm=SERVER_JVM, prefix=prefix)


def broker(
    directory: Path,
    port: int,
    namesrv_address: str,
    *,
    settings: Mapping[str, str | int | bool] | None = None,
    version: str = cache.REFERENCE,
    heap: str = "512m",
    prefix: Sequence[str] = (),
) -> Program:
    """Start Apache's broker, which also opens port - 2 and port + 1; it is not yet ready when this returns.

    `settings` are broker.conf entries, which win over those given here. The store is `directory`/store.
    """
    conf = broker_conf(directory, port, namesrv_address, settings)
    arguments = ["org.apache.rocketmq.broker.BrokerStartup", "-c", str(conf)]
    return java("broker", arguments, directory, version=version, heap=heap, jvm=SERVER_JVM, prefix=prefix)


def broker_conf(
    directory: Path, port: int, namesrv_address: str, settings: Mapping[str, str | int | bool] | None = None
) -> Path:
    """The broker.conf that `broker` starts with."""
    directory.mkdir(parents=True, exist_ok=True)
    defaults = {
        "brokerClusterName": "DefaultCluster",
        "brokerName": "broker-a",
        "brokerId": 0,
        "brokerIP1": "127.0.0.1",
        "namesrvAddr": namesrv_address,
        "listenPort": port,
        "storePathRootDir": directory / "store",
        "storePathCommitLog": directory / "store" / "commitlog",
        "diskMaxUsedSpaceRatio": 95,
        "mappedFileSizeCommitLog": 64 << 20,
        "enablePropertyFilter": True,
    }
    return _properties(directory / "broker.conf", {**defaults, **(settings or {})})


@contextmanager
def apache_cluster(
    directory: Path,
    *,
    version: str = cache.REFERENCE,
    settings: Mapping[str, str | int | bool] | None = None,
    namesrv_heap: str = "128m",
    broker_heap: str = "512m",
    prefix: Sequence[str] = (),
    ready_topic: str = "TBW102",
    seconds: float = 90,
) -> Iterator[Cluster]:
    """A nameserver and a broker with an empty store, ready for clients; killed at the end.

    `prefix` goes before both commands, such as `taskset -c 1`; `settings` are broker.conf entries. With
    autoCreateTopicEnable=false there is no TBW102: then give "broker-a" as `ready_topic`.

    Raises: PeerError with the servers' output, when they are not ready within `seconds`.
    """
    cache.jars(version)
    with ExitStack() as stack:
        namesrv_port, broker_port = free_port(), free_port(BROKER_NEIGHBOURS)
        address = f"127.0.0.1:{namesrv_port}"
        names = namesrv(directory / "namesrv", namesrv_port, version=version, heap=namesrv_heap, prefix=prefix)
        stack.enter_context(names)
        queues = broker(
            directory / "broker",
            broker_port,
            address,
            settings=settings,
            version=version,
            heap=broker_heap,
            prefix=prefix,
        )
        stack.enter_context(queues)
        wait_for_route(names, address, queues, ready_topic, seconds=seconds)
        yield Cluster(f"Apache {version}", names, namesrv_port, queues, broker_port)


def mqadmin(directory: Path, *arguments: str, version: str = cache.REFERENCE, seconds: float = 60) -> str:
    """Run one mqadmin command and return what it printed on both outputs.

    It ends with status 0 also when the command failed: judge by the text.

    Raises: PeerError when it does not end in time.
    """
    command = ["org.apache.rocketmq.tools.command.MQAdminStartup", *arguments]
    with java(f"mqadmin-{arguments[0]}", command, directory, version=version) as program:
        program.finish(seconds=seconds)
        return program.output() + program.stderr_path.read_text(encoding="utf-8", errors="replace")


def _properties(path: Path, entries: Mapping[str, object]) -> Path:
    lines = [f"{key}={str(value).lower() if isinstance(value, bool) else value}\n" for key, value in entries.items()]
    path.write_text("".join(lines), encoding="utf-8")
    return path

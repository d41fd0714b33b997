"""`rmq standalone`: NameServer and broker in one process, for laptops and tests."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click

from rmq_server.cli import options
from rmq_server.cli.imports import quick_imports

_READY = "RocketMQ is ready: connect to {namesrv} ({broker} at {address}, {data}). Ctrl-C stops it."
_ENOUGH_BYTES = 2 << 30  # two segments: the disk of a laptop is often over 90 % full, with plenty left


@click.command("standalone", context_settings=options.CONTEXT)
@options.config_file
@options.host
@options.port("--port", "Main port of the broker; 0 takes free ones. Default: 10911.")
@options.port("--namesrv-port", "Port of the NameServer; 0 takes a free one. Default: 9876.")
@options.advertise
@click.option(
    "--store", type=click.Path(path_type=Path), default=Path("rmq-data"), metavar="DIR", show_default=True,
    help="Directory for all data.",
)  # fmt: skip
@click.option("--ephemeral", is_flag=True, help="Keep nothing: data in a temporary directory, flushed lazily.")
@options.ports_file
@options.log("warning")
def main(
    file: Path | None,
    host: str | None,
    port: int | None,
    namesrv_port: int | None,
    advertise: str | None,
    store: Path,
    ephemeral: bool,
    ports_file: Path | None,
    log_dir: Path | None,
    log_format: str,
    log_level: str,
) -> None:
    """Start a NameServer and a broker in one process. A broker.conf (-c) is for the broker."""
    with quick_imports():
        from rmq_server.broker.config import BrokerConfig
        from rmq_server.broker.server import Broker
        from rmq_server.cli.broker_settings import bound_addresses, broker_config, split_advertised
        from rmq_server.cli.launch import Program, failures_as_sentences
        from rmq_server.core.config import given_arguments, load
        from rmq_server.core.known_keys import BROKER_KEYS
        from rmq_server.namesrv.config import DEFAULT_PORT, NamesrvConfig
        from rmq_server.namesrv.server import NameServer
        from rmq_server.store.config import StoreConfig

    with failures_as_sentences("rmq standalone"), ExitStack() as stack:
        if ephemeral:
            store = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rmq-")))
        advertise_host, advertise_port = split_advertised(advertise)
        arguments = given_arguments(
            ("bindAddress", host, "--host"),
            ("listenPort", port, "--port"),
            ("brokerIP1", advertise_host, "--advertise"),
            ("storePathRootDir", store / "store", "--store"),
            ("flushDiskType", "ASYNC_FLUSH" if ephemeral else None, "--ephemeral"),
        )
        settings = load([BrokerConfig, StoreConfig], BROKER_KEYS, file=file, arguments=arguments)
        config = broker_config(settings, advertise_port=advertise_port, name="broker-a")
        namesrv = NameServer(
            NamesrvConfig(
                listen_port=DEFAULT_PORT if namesrv_port is None else namesrv_port,
                bind_address=config.bind_address,
                kv_config_path=store / "namesrv" / "kvConfig.json",
            )
        )
        stored = settings[StoreConfig]
        if not settings.is_set("diskSpaceEnoughBytes"):
            stored = replace(stored, disk_enough_bytes=_ENOUGH_BYTES)
        brokers: list[Broker] = []

        def servers() -> Iterator[NameServer | Broker]:
            yield namesrv
            brokers.append(Broker(replace(config, namesrv_addr=namesrv.local_address), stored))
            yield brokers[0]

        Program("rmq-standalone", options.LogOptions(log_format, log_level, log_dir), ports_file).serve(
            servers(),
            notes=settings.notes,
            ready_line=lambda: _READY.format(
                namesrv=namesrv.local_address,
                broker=brokers[0].config.broker_name,
                address=brokers[0].address,
                data="nothing is kept" if ephemeral else f"data in {store}",
            ),
            bound=lambda: {**namesrv.addresses, **bound_addresses(brokers[0])},
        )

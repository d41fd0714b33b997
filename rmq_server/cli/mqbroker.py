"""`mqbroker`: start a broker."""

from pathlib import Path

import click

from rmq_server.cli import options
from rmq_server.cli.imports import quick_imports

_IMPORTANT = (
    "namesrvAddr", "brokerIP1", "listenPort", "bindAddress", "brokerName", "brokerClusterName", "brokerId",
    "brokerPermission", "autoCreateTopicEnable", "autoCreateSubscriptionGroup", "storePathRootDir",
    "storePathCommitLog", "flushDiskType", "mappedFileSizeCommitLog", "deleteWhen", "fileReservedTime",
    "maxMessageSize", "messageDelayLevel",
)  # fmt: skip


@click.command("mqbroker", context_settings=options.CONTEXT)
@options.config_file
@options.namesrv_addr("NameServers to register with. Default: namesrvAddr of the file, or NAMESRV_ADDR.")
@options.print_config
@click.option(
    "-m", "--printImportantConfig", "print_important", is_flag=True, help="Print the main settings, and exit."
)
@options.host
@options.port("--port", "Main port (listenPort), the VIP port is 2 below; 0 takes free ones. Default: 10911.")
@options.advertise
@click.option("--store", type=click.Path(), metavar="DIR", help="Directory of the store (storePathRootDir).")
@click.option("--enable-proxy", is_flag=True, hidden=True)
@options.ports_file
@options.log()
def main(
    file: Path | None,
    namesrv: str | None,
    print_config: bool,
    print_important: bool,
    host: str | None,
    port: int | None,
    advertise: str | None,
    store: str | None,
    enable_proxy: bool,
    ports_file: Path | None,
    log_dir: Path | None,
    log_format: str,
    log_level: str,
) -> None:
    """Start a RocketMQ broker: it stores messages and serves producers and consumers."""
    with quick_imports():
        from rmq_server.broker.config import BrokerConfig
        from rmq_server.broker.server import Broker
        from rmq_server.cli.broker_settings import boot_line, bound_addresses, broker_config, split_advertised
        from rmq_server.cli.launch import Program, environment, failures_as_sentences
        from rmq_server.core.config import given_arguments, load, properties_of
        from rmq_server.core.errors import StartupError
        from rmq_server.core.known_keys import BROKER_KEYS
        from rmq_server.core.properties import format_properties
        from rmq_server.store.config import StoreConfig

    with failures_as_sentences("mqbroker"):
        if enable_proxy:
            raise StartupError("--enable-proxy is not supported yet: start without it and use remoting clients")
        advertise_host, advertise_port = split_advertised(advertise)
        arguments = given_arguments(
            ("namesrvAddr", namesrv, "-n"),
            ("bindAddress", host, "--host"),
            ("listenPort", port, "--port"),
            ("brokerIP1", advertise_host, "--advertise"),
            ("storePathRootDir", store, "--store"),
        )
        settings = load(
            [BrokerConfig, StoreConfig], BROKER_KEYS, file=file, environment=environment(), arguments=arguments
        )
        config, store_config = broker_config(settings, advertise_port=advertise_port), settings[StoreConfig]
        if print_config or print_important:
            shown = properties_of(config, store_config)
            if not print_config:
                shown = {key: shown[key] for key in _IMPORTANT if key in shown}
            click.echo(format_properties(shown), nl=False)
            return
        broker = Broker(config, store_config)
        Program("mqbroker", options.LogOptions(log_format, log_level, log_dir), ports_file).serve(
            [broker],
            notes=settings.notes,
            ready_line=lambda: boot_line(broker),
            bound=lambda: bound_addresses(broker),
        )

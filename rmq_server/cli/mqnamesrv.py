"""`mqnamesrv`: start a NameServer."""

from pathlib import Path

import click

from rmq_server.cli import options
from rmq_server.cli.imports import quick_imports

BOOT_LINE = "The Name Server boot success. serializeType=JSON, address {}"


@click.command("mqnamesrv", context_settings=options.CONTEXT)
@options.config_file
@options.namesrv_addr("Accepted for upstream's sake: a NameServer knows of no other.")
@options.print_config
@options.host
@options.port("--port", "Port to listen on (listenPort); 0 takes a free one. Default: 9876.")
@options.ports_file
@options.log()
def main(
    file: Path | None,
    namesrv: str | None,
    print_config: bool,
    host: str | None,
    port: int | None,
    ports_file: Path | None,
    log_dir: Path | None,
    log_format: str,
    log_level: str,
) -> None:
    """Start a RocketMQ NameServer: it tells clients where topics are."""
    with quick_imports():
        from rmq_server.cli.launch import Program, environment, failures_as_sentences
        from rmq_server.core.config import given_arguments, load
        from rmq_server.core.known_keys import NAMESRV_KEYS
        from rmq_server.core.properties import format_properties
        from rmq_server.namesrv.config import NamesrvConfig
        from rmq_server.namesrv.server import NameServer

    with failures_as_sentences("mqnamesrv"):
        arguments = given_arguments(("bindAddress", host, "--host"), ("listenPort", port, "--port"))
        settings = load([NamesrvConfig], NAMESRV_KEYS, file=file, environment=environment(), arguments=arguments)
        if print_config:
            click.echo(format_properties(settings.properties()), nl=False)
            return
        server = NameServer(settings[NamesrvConfig])
        Program("mqnamesrv", options.LogOptions(log_format, log_level, log_dir), ports_file).serve(
            [server],
            notes=settings.notes,
            ready_line=lambda: BOOT_LINE.format(server.address),
            bound=lambda: server.addresses,
        )

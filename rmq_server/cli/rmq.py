"""`rmq`: what upstream has no program for. Each command's module is imported when it is called."""

from importlib import import_module

import click

from rmq_server.cli import options

_COMMANDS = {
    "standalone": ("rmq_server.cli.standalone", "Start a NameServer and a broker in one process."),
    "demo": ("rmq_server.cli.demo", "See it work: servers, a producer, three consumers, a rebalance."),
    "store": ("rmq_server.cli.store", "Look at, check, rebuild, dump, export and import a store directory."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(_COMMANDS[cmd_name][0]).main
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group("rmq", cls=LazyGroup, context_settings=options.CONTEXT)
def main() -> None:
    """RocketMQ on one machine."""

"""`python -m bench RUN …`. Each run is imported only when it is asked for."""

from importlib import import_module

import click

_RUNS = {
    "micro": ("bench.micro.command", "Codecs, records and the store, one operation each."),
    "macro": ("bench.macro.command", "Produce, consume and end to end, with our client and our servers."),
    "compare": ("bench.compare.command", "Ours against Apache's broker, in alternating windows."),
    "cold": ("bench.cold.command", "Old data pulled beside sends: loop lag and send latency."),
    "startup": ("bench.startup", "How soon servers are ready, and what they use while idle."),
}


class _Runs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_RUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _RUNS:
            return None
        command: click.Command = import_module(_RUNS[cmd_name][0]).main
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Runs"):
            formatter.write_dl([(name, about) for name, (_, about) in _RUNS.items()])


@click.command(cls=_Runs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def main() -> None:
    """Measure this RocketMQ. Every run prints a table and, with --json FILE, writes its figures with machine facts."""


if __name__ == "__main__":
    main(prog_name="python -m bench")

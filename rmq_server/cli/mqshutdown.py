"""`mqshutdown`: stop the servers that run on this machine."""

import os
import signal

import click

from rmq_server.cli import options
from rmq_server.cli.processes import PROGRAMS, find


@click.command("mqshutdown", context_settings=options.CONTEXT)
@click.argument("server", type=click.Choice(["namesrv", "broker"]))
@options.port("--port", "Only the one that listens on PORT.")
def main(server: str, port: int | None) -> None:
    """Ask running servers of this machine to stop: all of one kind, as upstream does, or the one at a port."""
    program = PROGRAMS[server]
    running = find(program, port)
    if not running:
        click.echo(f"No {program} running." if port is None else f"No {program} running on port {port}.")
        raise SystemExit(1)
    failures = [failure for pid in running if (failure := _stop(program, pid))]
    for failure in failures:
        click.echo(f"mqshutdown: {failure}", err=True)
    raise SystemExit(1 if failures else 0)


def _stop(program: str, pid: int) -> str | None:
    """Returns what went wrong, if anything."""
    click.echo(f"The {program}({pid}) is running...")
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has stopped by itself
    except PermissionError:
        return f"{program}({pid}) belongs to another user"
    click.echo(f"Send shutdown request to {program}({pid}) OK")
    return None

"""`python -m rmq_server PROGRAM …`: the programs without their scripts."""

import sys
from importlib import import_module

_PROGRAMS = {
    "mqnamesrv": "mqnamesrv",
    "namesrv": "mqnamesrv",
    "mqbroker": "mqbroker",
    "broker": "mqbroker",
    "mqshutdown": "mqshutdown",
    "rmq": "rmq",
}


def main() -> None:
    """Run the program that the first argument names."""
    program = _PROGRAMS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if program is None:
        print(f"usage: python -m rmq_server {{{','.join(_PROGRAMS)}}} [OPTIONS]", file=sys.stderr)
        raise SystemExit(2)
    import_module(f"rmq_server.cli.{program}").main(sys.argv[2:], prog_name=program)


if __name__ == "__main__":
    main()

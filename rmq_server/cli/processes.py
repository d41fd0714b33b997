"""Find running servers of ours by their command lines, and by the ports that they listen on.

Linux tells both in /proc; elsewhere `ps` and `lsof` are asked.
"""

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

PROGRAMS = {"mqnamesrv": "mqnamesrv", "namesrv": "mqnamesrv", "mqbroker": "mqbroker", "broker": "mqbroker"}
"""What may follow `python -m rmq_server` -> the program."""

_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self" / "cmdline").exists()
_WITH_ARGUMENT = ("-X", "-W")
_LISTEN = "0A"


def find(program: str, port: int | None = None) -> list[int]:
    """The process ids of `mqnamesrv` or `mqbroker`; with a port, only who listens on it."""
    found = [pid for pid, words in _command_lines() if pid != os.getpid() and program_of(words) == program]
    return found if port is None else [pid for pid in found if _listens(pid, port)]


def program_of(words: Sequence[str]) -> str | None:
    """The server program that a command line runs; None when it runs something else."""
    if not words:
        return None
    first, *rest = words
    if _script(first):
        return _script(first)
    if not os.path.basename(first).lower().startswith(("python", "pypy")):
        return None
    arguments = iter(rest)
    for word in arguments:
        if word in _WITH_ARGUMENT:
            next(arguments, None)
        elif word == "-m":
            is_ours = next(arguments, "") == "rmq_server"
            return PROGRAMS.get(next(arguments, "")) if is_ours else None
        elif not word.startswith("-"):
            return _script(word)
    return None


def _script(word: str) -> str | None:
    name = os.path.basename(word).removesuffix(".exe")
    return name if name in PROGRAMS.values() else None


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    if not _HAS_PROC:
        yield from _command_lines_of_ps()
        return
    for directory in _PROC.iterdir():
        if directory.name.isdecimal():
            try:
                line = (directory / "cmdline").read_bytes()
            except OSError:
                continue  # it has just ended
            yield int(directory.name), os.fsdecode(line).split("\0")[:-1]


def _command_lines_of_ps() -> Iterator[tuple[int, list[str]]]:
    output = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=False).stdout
    for line in output.splitlines():
        pid, _, command = line.strip().partition(" ")
        try:
            yield int(pid), shlex.split(command)
        except ValueError:
            continue  # quotes that are part of an argument


def _listens(pid: int, port: int) -> bool:
    if not _HAS_PROC:
        command = ["lsof", "-nP", "-a", "-p", str(pid), f"-iTCP:{port}", "-sTCP:LISTEN", "-t"]
        return bool(subprocess.run(command, capture_output=True, check=False).stdout.strip())
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    try:
        return any(os.readlink(entry) in sockets for entry in (_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]

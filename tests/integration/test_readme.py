"""The README's programs run as they are written."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rmq_server.testing import EmbeddedCluster

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
HEAD = "import asyncio\nfrom rmq_client import Producer\n"


def indented(code: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in code.splitlines())


def program(block: str) -> str:
    """A block as a program of its own: what awaits at its top level is put into a main."""
    if "asyncio.run" in block:
        return block
    imports = [line for line in block.splitlines() if line.startswith("from ")]
    rest = "\n".join(line for line in block.splitlines() if not line.startswith("from "))
    return HEAD + "\n".join(imports) + f"\n\nasync def main():\n{indented(rest)}\n\nasyncio.run(main())\n"


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
async def test_the_readme_is_true(block: str, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(program(block))
    async with EmbeddedCluster() as cluster:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(script),
            env={"PYTHONPATH": str(ROOT), "NAMESRV_ADDR": cluster.namesrv, "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    if "print" in block:
        assert b"b'{\"id\": 42}' created" in out

"""`--ports-file`: there, whole, while the server is ready."""

import json

import pytest

from rmq_server.cli.ports_file import PortsFile
from rmq_server.core.errors import StartupError


def test_it_appears_and_goes(tmp_path) -> None:
    path = tmp_path / "ports.json"
    file = PortsFile(path)
    file.remove()
    file.write({"namesrv": "127.0.0.1:1"})
    assert json.loads(path.read_text()) == {"namesrv": "127.0.0.1:1"}
    assert list(tmp_path.iterdir()) == [path]
    file.remove()
    assert not path.exists()


def test_without_a_path_nothing_happens() -> None:
    PortsFile(None).write({})
    PortsFile(None).remove()


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path) -> None:
    with pytest.raises(StartupError, match="cannot write the ports file"):
        PortsFile(tmp_path / "no" / "ports.json").write({})

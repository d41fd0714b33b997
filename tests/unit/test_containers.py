"""The container files: no engine runs where this is developed, so their syntax and their promises are checked here."""

import shlex
from pathlib import Path

import pytest
import yaml
from click import Command

from rmq_server.cli import mqbroker, mqnamesrv

ROOT = Path(__file__).parents[2]
PROGRAMS: dict[str, Command] = {"mqnamesrv": mqnamesrv.main, "mqbroker": mqbroker.main}


@pytest.fixture
def compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_every_service_has_a_health_check_and_starts_a_program_with_options_that_exist(compose) -> None:
    assert set(compose["services"]) == {"namesrv", "broker"}
    for service in compose["services"].values():
        assert service["healthcheck"]["test"][0] == "CMD"
        program, *arguments = shlex.split(service["command"].replace("${ADVERTISE:-127.0.0.1}", "127.0.0.1"))
        PROGRAMS[program].make_context(program, arguments)


def test_data_lives_in_a_named_volume(compose) -> None:
    (mount,) = compose["services"]["broker"]["volumes"]
    volume, _, target = mount.partition(":")
    assert volume in compose["volumes"]
    assert shlex.split(compose["services"]["broker"]["command"])[-1].startswith(target)


def test_the_image_is_slim_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert bases
    assert all(base.endswith("-slim") for base in bases)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["rmq"]
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            assert all((ROOT / source).exists() for source in line.split()[1:-1])

"""Servers up, one client process per job, counts checked against the queues."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from bench.facts import pin
from bench.load.admin import Admin
from bench.macro.jobs import Job, Kind, Outcome
from bench.servers import Servers, our_servers
from bench.topics import create_topic

_QUEUES = 8
_REPOSITORY = Path(__file__).resolve().parents[2]
_JOB_SECONDS = 180.0


class JobError(Exception):
    """A client process failed, or its counts do not add up."""


def run_jobs(
    mode: str, *, seconds: float, consumed: int, per_s: int, store_root: Path | None, words: tuple[str, ...]
) -> Iterator[Outcome]:
    """Every job against fresh servers with this flush mode.

    consumed: messages in the topic that is consumed.
    Raises: PeerError, JobError.
    """
    directory = Path(tempfile.mkdtemp(prefix="rmq-bench-", dir=store_root))
    try:
        with ExitStack() as stack:
            servers = stack.enter_context(our_servers(directory, mode, pin(0)))
            for job in _jobs(servers, seconds, consumed, per_s):
                if words and not any(word.lower() in job.name for word in words):
                    continue
                yield _run(servers, job)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _jobs(servers: Servers, seconds: float, consumed: int, per_s: int) -> Iterator[Job]:
    common: dict[str, Any] = {"namesrv": servers.namesrv, "broker_pid": servers.broker_pid, "seconds": seconds}
    yield Job(name="send, 32 in flight", kind=Kind.PRODUCE, topic="macro-32", **common)
    yield Job(name="send, one at a time", kind=Kind.PRODUCE, topic="macro-1", in_flight=1, **common)
    yield Job(name="send, batches of 32, 4 in flight", kind=Kind.BATCH, topic="macro-batch", in_flight=4, **common)
    yield Job(name="consume", kind=Kind.CONSUME, topic="macro-consume", messages=consumed, **common)
    yield Job(name="end to end", kind=Kind.END_TO_END, topic="macro-end", per_s=per_s, **common)


def _run(servers: Servers, job: Job) -> Outcome:
    create_topic(servers, job.topic, _QUEUES, routed=True)
    if job.kind is Kind.CONSUME:
        filling = msgspec.structs.replace(job, name="fill", kind=Kind.BATCH, in_flight=4, seconds=_JOB_SECONDS)
        filled = _client(filling)
        _check_queues(servers, filling, filled.sent)
        job = msgspec.structs.replace(job, messages=filled.sent)
    outcome = _client(job)
    if job.kind is Kind.CONSUME:
        if outcome.messages != job.messages:
            raise JobError(f"{job.name}: {job.messages} messages were sent, {outcome.messages} arrived")
    else:
        _check_queues(servers, job, outcome.sent)
    return outcome


def _check_queues(servers: Servers, job: Job, sent: int) -> None:
    with Admin(servers.broker) as admin:
        found = sum(admin.max_offsets(job.topic, _QUEUES))
    if found != sent:
        raise JobError(f"{job.name}: {sent} messages were acknowledged, {found} are in the queues of {job.topic}")


def _client(job: Job) -> Outcome:
    command = [*pin(1), sys.executable, "-m", "bench.macro.worker", msgspec.json.encode(job).decode()]
    done = subprocess.run(
        command, cwd=_REPOSITORY, capture_output=True, text=True, check=False, timeout=_JOB_SECONDS + job.seconds
    )
    if done.returncode != 0:
        raise JobError(f"{job.name}: the client ended with {done.returncode}\n{done.stderr[-3000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Outcome)

"""The load, in a process of its own: sends at a steady rate, and one pull after the other from each old queue.

`python -m bench.cold.load JOB` does the job, given as JSON, and prints its outcome as JSON.
"""

import asyncio
import sys
import time

import msgspec
import uvloop

from bench.figures import percentiles
from bench.load.admin import Admin
from protocol.codes import ResponseCode
from protocol.flags import PullSysFlag
from protocol.headers.pull import PULL_MESSAGE, PullMessageHeader, PullMessageReply
from protocol.headers.send import SEND_MESSAGE_V2, SendMessageHeaderV2
from rmq_server.net.dialer import Link, dial

LIVE_TOPIC = "cold-live"
OLD_TOPIC = "cold-old"
_TIMEOUT_S = 30.0
_WARM_UP_S = 0.5


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """seconds: how long; per_s: sends; queues: of the old topic; pulls: whether they are pulled at all."""

    broker: str
    seconds: float
    per_s: int
    queues: int
    pulls: bool


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """send_ms: p50, p90, p99, p999, maximum."""

    sent: int
    send_ms: tuple[float, ...]
    pulls: int
    pulled_bytes: int
    seconds: float


async def run(job: Job) -> Outcome:
    """Do a job."""
    body = bytes(1024)
    latencies: list[float] = []
    pulls = pulled_bytes = 0
    sender = await dial(job.broker)
    header = SendMessageHeaderV2(
        producer_group="bench", topic=LIVE_TOPIC, properties="", queue_id=0, sys_flag=0, born_timestamp=1, flag=0
    )

    async def send() -> None:
        started = time.perf_counter()
        answer = await sender.request(SEND_MESSAGE_V2, header, body, timeout_s=_TIMEOUT_S)
        if answer.code != ResponseCode.SUCCESS:
            raise RuntimeError(f"a send was answered with {answer.code}: {answer.remark}")
        latencies.append(time.perf_counter() - started)

    async def paced(seconds: float) -> None:
        started = time.perf_counter()
        for number in range(int(job.per_s * seconds)):
            ahead = started + number / job.per_s - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            tasks.create_task(send())

    async def pull(queue_id: int, link: Link) -> None:
        nonlocal pulls, pulled_bytes
        offset = 0
        while True:
            asked = PullMessageHeader(
                consumer_group="bench",
                topic=OLD_TOPIC,
                queue_id=queue_id,
                queue_offset=offset,
                max_msg_nums=32,
                commit_offset=0,
                sys_flag=PullSysFlag.SUBSCRIPTION,
                suspend_timeout_millis=0,
                subscription="*",
                sub_version=0,
            )
            answer = await link.request(PULL_MESSAGE, asked, timeout_s=_TIMEOUT_S)
            if answer.code == ResponseCode.PULL_NOT_FOUND:
                offset = 0
                continue
            if answer.code != ResponseCode.SUCCESS:
                raise RuntimeError(f"a pull was answered with {answer.code}: {answer.remark}")
            offset = answer.read_header(PullMessageReply).next_begin_offset
            pulls += 1
            pulled_bytes += len(answer.body)

    async with asyncio.TaskGroup() as tasks:
        await paced(_WARM_UP_S)
        latencies.clear()
        started = time.perf_counter()
        links = [await dial(job.broker) for _ in range(job.queues if job.pulls else 0)]
        pullers = [tasks.create_task(pull(queue_id, link)) for queue_id, link in enumerate(links)]
        await paced(job.seconds)
        seconds = time.perf_counter() - started
        for puller in pullers:
            puller.cancel()
    for link in (sender, *links):
        link.close()
    return Outcome(
        sent=len(latencies),
        send_ms=tuple(percentiles(latencies)),
        pulls=pulls,
        pulled_bytes=pulled_bytes,
        seconds=seconds,
    )


def main() -> None:
    """Do the job of the first argument."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    with Admin(job.broker) as admin:
        admin.create_topic(OLD_TOPIC, job.queues)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(run(job))
    print(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    main()

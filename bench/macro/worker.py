"""The client process: one job, given as JSON on the command line, its outcome as JSON on standard output.

Before anything counts, each job sends or receives a little, so that routes, connections and codecs are settled.
"""

import asyncio
import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable

import msgspec
import uvloop

from bench.figures import percentiles
from bench.macro.jobs import Job, Kind, Outcome
from bench.usage import cpu_seconds, memory
from rmq_client import ConsumeFrom, ConsumerConfig, Message, MessageExt, Producer, PushConsumer, SendStatus

_WARM_UP_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0
_NS = 1e9


class Meter:
    """CPU, time and memory from `start` to `outcome`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        gc.collect()
        self._server = cpu_seconds(job.broker_pid)
        self._client = time.process_time()
        self._started = time.perf_counter()

    def outcome(self, messages: int, latencies: list[float], *, sent: int, duplicates: int = 0) -> Outcome:
        """What was used since this was made."""
        seconds = time.perf_counter() - self._started
        client, server = time.process_time() - self._client, cpu_seconds(self._job.broker_pid) - self._server
        own, theirs = memory(os.getpid()), memory(self._job.broker_pid)
        return Outcome(
            name=self._job.name,
            messages=messages,
            seconds=seconds,
            client_cpu_s=client,
            server_cpu_s=server,
            latencies_ms=tuple(percentiles(latencies)) if latencies else (),
            duplicates=duplicates,
            client_rss=own.rss,
            client_anonymous=own.anonymous,
            server_rss=theirs.rss,
            server_anonymous=theirs.anonymous,
            sent=sent,
        )


async def produce(job: Job) -> Outcome:
    """Sends, or batches, as many at a time as the job says."""
    body = os.urandom(job.body_bytes)
    async with Producer("bench-producer", namesrv=job.namesrv) as producer:

        async def one() -> int:
            _check((await producer.send(job.topic, body)).status)
            return 1

        async def batch() -> int:
            _check((await producer.send_batch([Message(job.topic, body) for _ in range(job.batch)])).status)
            return job.batch

        send = batch if job.kind is Kind.BATCH else one
        warm, _ = await _repeat(send, job.in_flight, _WARM_UP_SECONDS, job.messages // 10 if job.messages else None)
        meter = Meter(job)
        sent, latencies = await _repeat(send, job.in_flight, job.seconds, job.messages - warm if job.messages else None)
        return meter.outcome(sent, latencies, sent=warm + sent)


async def consume(job: Job) -> Outcome:
    """Everything that is in the topic already, offset commit included."""
    seen: set[str] = set()
    handled = 0
    complete = asyncio.Event()

    async def handle(message: MessageExt) -> None:
        nonlocal handled
        handled += 1
        seen.add(message.msg_id)
        if len(seen) >= job.messages:
            complete.set()

    config = ConsumerConfig(consume_from=ConsumeFrom.FIRST)
    meter = Meter(job)
    async with PushConsumer("bench-consumer", job.topic, namesrv=job.namesrv, config=config) as consumer:
        running = asyncio.create_task(consumer.run(handle, concurrency=job.in_flight))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await complete.wait()
        await consumer.close()
        await running
    return meter.outcome(len(seen), [], sent=0, duplicates=handled - len(seen))


async def end_to_end(job: Job) -> Outcome:
    """A producer at a steady rate, and a consumer, in this process: from send() to the handler."""
    body = bytes(job.body_bytes - 8)
    latencies: list[float] = []
    expected = 0
    received = 0
    complete = asyncio.Event()

    async def handle(message: MessageExt) -> None:
        nonlocal received
        received += 1
        latencies.append((time.perf_counter_ns() - int.from_bytes(message.body[:8], "big")) / _NS)
        if received == expected:
            complete.set()

    config = ConsumerConfig(consume_from=ConsumeFrom.FIRST)
    async with (
        Producer("bench-producer", namesrv=job.namesrv) as producer,
        PushConsumer("bench-end", job.topic, namesrv=job.namesrv, config=config) as consumer,
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(consumer.run(handle, concurrency=job.in_flight))

        async def send() -> None:
            stamp = time.perf_counter_ns().to_bytes(8, "big")
            _check((await producer.send(job.topic, stamp + body)).status)

        async def paced(seconds: float) -> int:
            total = int(job.per_s * seconds)
            started = time.perf_counter()
            for number in range(total):
                ahead = started + number / job.per_s - time.perf_counter()
                if ahead > 0:
                    await asyncio.sleep(ahead)
                tasks.create_task(send())
            return total

        async def settled() -> None:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                if received < expected:
                    complete.clear()
                    await complete.wait()

        expected = warm = int(job.per_s * _WARM_UP_SECONDS)
        await paced(_WARM_UP_SECONDS)
        await settled()
        latencies.clear()
        meter = Meter(job)
        expected = warm + int(job.per_s * job.seconds)
        await paced(job.seconds)
        await settled()
        outcome = meter.outcome(expected - warm, latencies, sent=expected, duplicates=received - expected)
        await consumer.close()
        await running
    return outcome


async def _repeat(
    send: Callable[[], Awaitable[int]], tasks: int, seconds: float, most: int | None
) -> tuple[int, list[float]]:
    """Send again and again, from so many tasks; how many messages, and how long each send took."""
    deadline = time.perf_counter() + seconds
    latencies: list[float] = []
    sent = 0

    async def sender() -> None:
        nonlocal sent
        clock = time.perf_counter
        while (started := clock()) < deadline and (most is None or sent < most):
            done = await send()  # not `sent += await`, which adds to what it was before the wait
            sent += done
            latencies.append(clock() - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(sender())
    return sent, latencies


def _check(status: SendStatus) -> None:
    if status is not SendStatus.SEND_OK:
        raise RuntimeError(f"a send was answered with {status.name}")


_RUN = {Kind.PRODUCE: produce, Kind.BATCH: produce, Kind.CONSUME: consume, Kind.END_TO_END: end_to_end}


def main() -> None:
    """Do the job of the first argument."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(_RUN[job.kind](job))
    print(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    main()

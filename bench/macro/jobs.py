"""What the client process does, as data, and what it reports."""

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What a job does."""

    PRODUCE = "produce"
    BATCH = "produce batches"
    CONSUME = "consume"
    END_TO_END = "end to end"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job.

    seconds:   how long to produce; of END_TO_END too.
    in_flight: sends that wait for their answer at the same time; of CONSUME, handlers that run at the same time.
    messages:  per batch of BATCH; how many CONSUME waits for; how many BATCH sends at most.
    per_s:     messages that END_TO_END sends per second.
    """

    name: str
    kind: Kind
    namesrv: str
    broker_pid: int
    topic: str
    seconds: float = 3.0
    in_flight: int = 32
    batch: int = 32
    messages: int = 0
    body_bytes: int = 1024
    per_s: int = 2000


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a job came to.

    client_cpu_s, server_cpu_s: of this process and the broker, while it measured.
    latencies_ms:               p50, p90, p99, p999 and maximum: of a send until its answer, of END_TO_END from send()
                                until the handler; empty for CONSUME.
    duplicates:                 messages that were handled again.
    """

    name: str
    messages: int
    seconds: float
    client_cpu_s: float
    server_cpu_s: float
    latencies_ms: tuple[float, ...] = ()
    duplicates: int = 0
    client_rss: int = 0
    client_anonymous: int = 0
    server_rss: int = 0
    server_anonymous: int = 0
    sent: int = 0

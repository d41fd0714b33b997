"""Our broker on stores that Apache's brokers wrote: clients get what the producers were told, where they were told."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from protocol.record import unpack
from rmq_client import MessageExt, PullConsumer
from rmq_server.core.clock import ManualClock
from rmq_server.store.config import FlushDiskType, StoreConfig
from rmq_server.testing.cluster import EmbeddedCluster
from tests.support import golden

ELSEWHERE = ("delay level", "timer", "transaction COMMIT_MESSAGE", "transaction ROLLBACK_MESSAGE", "transaction UNKNOW")
"""Sends that were answered with the place of an internal record; the message came to its topic later, or never."""
DELIVERED = {"delay level": 2, "timer": 2, "transaction COMMIT_MESSAGE": 1}
"""How many of them did: the third of the delayed ones was to wait longer than the broker lived."""

Place = tuple[str, int, int]
Served = dict[Place, MessageExt]


def config() -> StoreConfig:
    return StoreConfig(
        commitlog_file_bytes=golden.COMMITLOG_FILE_BYTES,
        consumequeue_file_bytes=golden.CONSUMEQUEUE_FILE_BYTES,
        index_slots=golden.INDEX_SLOTS,
        index_entries=golden.INDEX_ENTRIES,
        flush_disk_type=FlushDiskType.ASYNC_FLUSH,
    )


async def served(consumer: PullConsumer, topics: set[str]) -> Served:
    """All messages of some topics, each at its place."""
    found: Served = {}
    for topic in topics:
        for queue in await consumer.queues(topic):
            offset = await consumer.min_offset(queue)
            while offset < await consumer.max_offset(queue):
                result = await consumer.pull(queue, offset)
                for message in result.messages:
                    found[queue.topic, queue.queue_id, message.queue_offset] = message
                offset = result.next_offset
    return found


@pytest.mark.parametrize("name", golden.RECORDS)
async def test_every_line_of_the_ledger_is_served_at_its_place(tmp_path: Path, name: str) -> None:
    """Left aside: where delayed, timer and transaction lines point to, which are queues that the broker keeps for
    itself; of those the outcome is checked instead.
    """
    root = golden.extract(name, tmp_path)
    last_ms = max(unpack(record).store_timestamp_ms for _, record in golden.log_records(root))
    lines = golden.ledger(name)
    async with (
        EmbeddedCluster(tmp_path, store=config(), clock=ManualClock(last_ms)) as cluster,
        PullConsumer("reader", namesrv=cluster.namesrv) as consumer,
    ):
        found = await served(consumer, {line["topic"] for line in lines})
    delivered: Counter[str] = Counter()
    for line in lines:
        if line["what"] in ELSEWHERE:
            messages = [message for message in found.values() if message.msg_id == line["msgId"]]
            delivered[line["what"]] += len(messages)
            for message in messages:
                check_body(message, line)
        else:
            check_placed(found, line)
    sent = {line["what"] for line in lines}
    assert delivered == Counter({what: count for what, count in DELIVERED.items() if what in sent})


def check_body(message: MessageExt, line: dict[str, Any]) -> None:
    assert len(message.body) == line["bodyLength"]
    if "body" in line:
        assert message.body.hex() == line["body"]


def check_placed(found: Served, line: dict[str, Any]) -> None:
    """A line, also one of a batch, whose messages follow one another."""
    offset_ids = line["offsetMsgId"].split(",")
    for number, offset_id in enumerate(offset_ids):
        message = found[line["topic"], line["queueId"], line["queueOffset"] + number]
        assert message.offset_msg_id == offset_id
        assert message.flag == line["flag"]
    message = found[line["topic"], line["queueId"], line["queueOffset"]]
    check_body(message, line)
    expected = dict(line["properties"])
    if len(offset_ids) > 1:
        del expected["UNIQ_KEY"]  # Apache's brokers append the id of the batch to each message, and the last one counts
    if "WAIT" not in message.properties:
        del expected["WAIT"]  # 4.9.7 drops it
    assert expected.items() <= message.properties.items()

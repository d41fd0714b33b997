"""Topics: what exists from the start, what a first send creates, what is written."""

import errno

import pytest

from protocol.bodies.topic_config import TopicConfig, TopicConfigTable
from protocol.errors import InvalidName
from rmq_server.broker.config import BrokerConfig
from rmq_server.broker.topics import TopicTable
from rmq_server.core.clock import ManualClock
from rmq_server.core.errors import Reject
from rmq_server.core.json_file import JsonFile


def table(tmp_path, clock=None, **config) -> TopicTable:
    return TopicTable(
        BrokerConfig(**config), JsonFile(tmp_path / "topics.json", TopicConfigTable), clock or ManualClock()
    )


# topic, queues, permission: remoting.md 2.10
SYSTEM = [
    ("TBW102", 8, 7),
    ("SELF_TEST_TOPIC", 1, 6),
    ("BenchmarkTest", 1024, 6),
    ("DefaultCluster", 16, 7),
    ("broker-a", 1, 7),
    ("OFFSET_MOVED_EVENT", 1, 6),
    ("SCHEDULE_TOPIC_XXXX", 18, 6),
    ("DefaultCluster_REPLY_TOPIC", 1, 6),
    ("rmq_sys_REVIVE_LOG_DefaultCluster", 8, 6),
    ("rmq_sys_SYNC_BROKER_MEMBER_broker-a", 1, 1),
    ("RMQ_SYS_TRANS_HALF_TOPIC", 1, 6),
    ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, 6),
    ("rmq_sys_wheel_timer", 1, 6),
]


def test_system_topics_are_upstreams(tmp_path) -> None:
    found = [(topic.topic_name, topic.read_queue_nums, topic.perm) for topic in table(tmp_path)]
    assert sorted(found) == sorted(SYSTEM)


@pytest.mark.parametrize(
    ("name", "template", "asked", "queues"),
    [("T", "TBW102", 4, 4), ("T", "TBW102", 100, 8), ("%RETRY%G", "TBW102", 4, 1), ("T", "broker-a", 4, 1)],
)
def test_a_first_send_derives_its_topic_from_the_template(tmp_path, name, template, asked, queues) -> None:
    topic = table(tmp_path).derive(name, template, asked)
    assert topic == TopicConfig(topic_name=name, read_queue_nums=queues, write_queue_nums=queues, perm=6)


@pytest.mark.parametrize("template", ["nothing", "SELF_TEST_TOPIC"])
def test_no_template_no_topic(tmp_path, template) -> None:
    assert table(tmp_path).derive("T", template, 4) is None
    assert table(tmp_path, auto_create_topic=False).derive("T", "TBW102", 4) is None


@pytest.mark.parametrize("name", ["", " ", "a b", "../x", "T/0", "é", "T" * 128])
def test_a_name_that_is_illegal_is_never_derived(tmp_path, name) -> None:
    with pytest.raises(InvalidName):
        table(tmp_path).derive(name, "TBW102", 4)


async def test_changes_survive_and_move_the_version(tmp_path) -> None:
    clock = ManualClock()
    topics = table(tmp_path, clock)
    before = topics.version
    clock.advance(1)
    assert await topics.store(TopicConfig(topic_name="T", read_queue_nums=3, write_queue_nums=3))
    assert not await topics.store(TopicConfig(topic_name="T", read_queue_nums=3, write_queue_nums=3))
    assert topics.version.counter == before.counter + 1
    again = table(tmp_path, clock)
    again.load()
    assert again.get("T") == topics.get("T")
    assert again.version == topics.version


async def test_a_topic_that_cannot_be_written_does_not_exist(tmp_path, monkeypatch) -> None:
    topics = table(tmp_path)
    before = topics.version

    async def full(value: TopicConfigTable) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(topics._file, "save", full)
    with pytest.raises(Reject, match="No space left"):
        await topics.store(TopicConfig(topic_name="T"))
    assert topics.get("T") is None
    assert topics.version == before


def test_a_broker_without_permission_registers_its_topics_without_it(tmp_path) -> None:
    topics = table(tmp_path, permission=4)
    registered = topics.registration().topic_config_table
    assert registered["SELF_TEST_TOPIC"].perm == 4
    assert registered["TBW102"].perm == 5
    assert topics.get("SELF_TEST_TOPIC").perm == 6

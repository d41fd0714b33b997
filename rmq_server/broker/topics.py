"""The topics of a broker: system topics, topics.json, automatic creation.

One owner of TopicConfig and its DataVersion.
Invariant: a topic that clients created can be seen only once it is on disk, so no acknowledged message is in a topic
that a crash forgets.
Source: apache/rocketmq: broker/.../topic/TopicConfigManager.java; behaviour.md 1.2, 1.3
"""

import asyncio
from collections.abc import Iterator

import msgspec

from protocol import names
from protocol.bodies.topic_config import DataVersion, TopicConfig, TopicConfigTable
from protocol.codes import ResponseCode
from protocol.flags import PermName
from rmq_server.broker.config import BrokerConfig
from rmq_server.core.clock import Clock
from rmq_server.core.errors import Reject
from rmq_server.core.json_file import JsonFile

SCHEDULE_QUEUES = 18
BENCHMARK_QUEUES = 1024
CLUSTER_QUEUES = 16


class TopicTable:
    """What topics exist here, by name."""

    def __init__(self, config: BrokerConfig, file: JsonFile[TopicConfigTable], clock: Clock) -> None:
        self._config = config
        self._file = file
        self._clock = clock
        self._topics: dict[str, TopicConfig] = {topic.topic_name: topic for topic in _system_topics(config)}
        self._system = frozenset(self._topics)
        self._version = DataVersion(timestamp=clock.now_ms())
        self._change = asyncio.Lock()

    def load(self) -> None:
        """Merge topics.json over the system topics.

        Raises: StartupError when the file is damaged.
        """
        stored = self._file.load()
        if stored is not None:
            self._topics.update(stored.topic_config_table)
            self._version = stored.data_version

    @property
    def version(self) -> DataVersion:
        return self._version

    def __iter__(self) -> Iterator[TopicConfig]:
        return iter(list(self._topics.values()))

    def get(self, topic: str) -> TopicConfig | None:
        """The configuration of a topic, None when it does not exist."""
        return self._topics.get(topic)

    def is_system(self, topic: str) -> bool:
        """Whether the broker made the topic for itself."""
        return topic in self._system or names.is_system_topic(topic)

    async def store(self, topic: TopicConfig) -> bool:
        """Create or change a topic, first on disk and then here; whether anything changed.

        Raises: Reject when it cannot be written; nothing has changed then.
        """
        async with self._change:
            if self._topics.get(topic.topic_name) == topic:
                return False
            version = self._version.next(self._clock.now_ms())
            changed = {**self._topics, topic.topic_name: topic}
            try:
                await self._file.save(TopicConfigTable(data_version=version, topic_config_table=changed))
            except OSError as error:
                raise Reject(
                    ResponseCode.SYSTEM_ERROR, f"topic[{topic.topic_name}] could not be written: {error.strerror}"
                ) from error
            self._topics, self._version = changed, version
            return True

    def derive(self, topic: str, default_topic: str, queue_nums: int) -> TopicConfig | None:
        """The topic that a first send creates from its template, None when it may not be created.

        Raises: InvalidName.
        """
        names.check_topic(topic)
        if topic.startswith(names.RETRY_PREFIX):
            return TopicConfig(topic_name=topic, read_queue_nums=1, write_queue_nums=1)
        template = self._topics.get(default_topic)
        if template is None or not self._config.auto_create_topic or not template.perm & PermName.INHERIT:
            return None
        queues = max(0, min(queue_nums, template.write_queue_nums))
        return TopicConfig(
            topic_name=topic,
            read_queue_nums=queues,
            write_queue_nums=queues,
            perm=template.perm & ~PermName.INHERIT,
            topic_filter_type=template.topic_filter_type,
        )

    def registration(self) -> TopicConfigTable:
        """What the NameServers are told: without the permissions that the broker as a whole does not have."""
        permission = self._config.permission
        table = {
            topic.topic_name: topic
            if permission & PermName.READ_WRITE == PermName.READ_WRITE
            else msgspec.structs.replace(topic, perm=topic.perm & (permission | PermName.INHERIT))
            for topic in self
        }
        return TopicConfigTable(data_version=self._version, topic_config_table=table)

    async def save(self) -> None:
        """Write topics.json."""
        await self._file.save(TopicConfigTable(data_version=self._version, topic_config_table=dict(self._topics)))


def _system_topics(config: BrokerConfig) -> Iterator[TopicConfig]:
    def topic(name: str, queues: int = 1, perm: int = PermName.READ_WRITE) -> TopicConfig:
        return TopicConfig(topic_name=name, read_queue_nums=queues, write_queue_nums=queues, perm=perm)

    usable = PermName.INHERIT | PermName.READ_WRITE
    if config.auto_create_topic:
        yield topic(names.AUTO_CREATE_TOPIC, config.default_topic_queue_nums, usable)
    yield topic(names.SELF_TEST_TOPIC)
    yield topic(names.BENCHMARK_TOPIC, BENCHMARK_QUEUES)
    yield topic(config.cluster_name, CLUSTER_QUEUES, usable if config.cluster_topic else PermName.INHERIT)
    yield topic(config.broker_name, 1, usable if config.broker_topic else PermName.INHERIT)
    yield topic(names.OFFSET_MOVED_EVENT)
    yield topic(names.SCHEDULE_TOPIC, SCHEDULE_QUEUES)
    if config.trace_topic:
        yield topic(config.trace_topic_name)
    yield topic(f"{config.cluster_name}_REPLY_TOPIC")
    yield topic(f"rmq_sys_REVIVE_LOG_{config.cluster_name}", config.revive_queue_nums)
    yield topic(f"rmq_sys_SYNC_BROKER_MEMBER_{config.broker_name}", 1, PermName.INHERIT)
    yield topic(names.TRANS_HALF_TOPIC)
    yield topic(names.TRANS_OP_HALF_TOPIC)
    if config.timer_topic:
        yield topic(names.TIMER_TOPIC)

"""Committed offsets of consumer groups: consumerOffset.json.

Source: apache/rocketmq: broker/.../offset/ConsumerOffsetManager.java; behaviour.md 6.3
"""

from protocol.bodies.subscription_group import ConsumerOffsetTable
from protocol.bodies.topic_config import DataVersion
from rmq_server.core.clock import Clock
from rmq_server.core.json_file import JsonFile
from rmq_server.core.log import get_logger

_log = get_logger("broker")

GROUP_SEPARATOR = "@"
VERSION_STEP = 500
"""The table's version advances every so many commits."""


class ConsumerOffsets:
    """Group, topic and queue id -> the next queue offset to consume."""

    def __init__(self, file: JsonFile[ConsumerOffsetTable], clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._offsets: dict[str, dict[int, int]] = {}
        self._version = DataVersion()
        self._commits = 0
        self.needs_save = False

    def load(self) -> None:
        """Read consumerOffset.json.

        Raises: StartupError when the file is damaged.
        """
        stored = self._file.load()
        if stored is not None:
            self._offsets = stored.offset_table
            self._version = stored.data_version

    def get(self, group: str, topic: str, queue_id: int) -> int | None:
        """The committed offset, None when there is none."""
        queues = self._offsets.get(f"{topic}{GROUP_SEPARATOR}{group}")
        return None if queues is None else queues.get(queue_id)

    def commit(self, group: str, topic: str, queue_id: int, offset: int, peer: str) -> None:
        """Store an offset, also a smaller one, since resets use that; `peer` is for the warning."""
        queues = self._offsets.setdefault(f"{topic}{GROUP_SEPARATOR}{group}", {})
        previous = queues.get(queue_id)
        if previous == offset:
            return
        if previous is not None and previous > offset:
            _log.warning(
                "consumer offset moved back",
                group=group,
                topic=topic,
                queue_id=queue_id,
                stored=previous,
                committed=offset,
                peer=peer,
            )
        queues[queue_id] = offset
        self.needs_save = True
        self._commits += 1
        if self._commits % VERSION_STEP == 0:
            self._version = self._version.next(self._clock.now_ms())

    async def save(self) -> None:
        """Write consumerOffset.json."""
        self.needs_save = False
        table = {key: dict(queues) for key, queues in self._offsets.items()}
        try:
            await self._file.save(ConsumerOffsetTable(data_version=self._version, offset_table=table))
        except BaseException:
            self.needs_save = True
            raise

"""The consumer groups of a broker and their configurations: subscriptionGroup.json.

Source: apache/rocketmq: broker/.../subscription/SubscriptionGroupManager.java
"""

from collections.abc import Iterator

from protocol import names
from protocol.bodies.subscription_group import SubscriptionGroupConfig, SubscriptionGroupTable
from rmq_server.broker.config import BrokerConfig
from rmq_server.core.clock import Clock
from rmq_server.core.json_file import JsonFile

READ_FORBIDDEN = 1 << 2


class SubscriptionGroups:
    """What groups exist here, by name."""

    def __init__(self, config: BrokerConfig, file: JsonFile[SubscriptionGroupTable], clock: Clock) -> None:
        self._config = config
        self._file = file
        self._clock = clock
        self._table = SubscriptionGroupTable(
            subscription_group_table={name: SubscriptionGroupConfig(group_name=name) for name in names.SYSTEM_GROUPS}
        )
        self.needs_save = False

    def load(self) -> None:
        """Merge subscriptionGroup.json over the system groups.

        Raises: StartupError when the file is damaged.
        """
        stored = self._file.load()
        if stored is not None:
            stored.subscription_group_table = self._table.subscription_group_table | stored.subscription_group_table
            self._table = stored

    def __iter__(self) -> Iterator[SubscriptionGroupConfig]:
        return iter(list(self._table.subscription_group_table.values()))

    def get(self, group: str) -> SubscriptionGroupConfig | None:
        """The configuration of a group, None when it does not exist."""
        return self._table.subscription_group_table.get(group)

    def find_or_create(self, group: str) -> SubscriptionGroupConfig | None:
        """The configuration of a group, made with defaults where that is allowed.

        Raises: InvalidName.
        """
        found = self._table.subscription_group_table.get(group)
        if found is not None:
            return found
        names.check_group(group)
        if not self._config.auto_create_group and not names.is_system_group(group):
            return None
        created = SubscriptionGroupConfig(group_name=group)
        self._table.subscription_group_table[group] = created
        self._table.data_version = self._table.data_version.next(self._clock.now_ms())
        self.needs_save = True
        return created

    def is_forbidden(self, group: str, topic: str) -> bool:
        """Whether the group may not read the topic."""
        forbidden = self._table.forbidden_table.get(group)
        return forbidden is not None and bool(forbidden.get(topic, 0) & READ_FORBIDDEN)

    async def save(self) -> None:
        """Write subscriptionGroup.json."""
        self.needs_save = False
        try:
            await self._file.save(self._table)
        except BaseException:
            self.needs_save = True
            raise

"""AdminClient: what operators and tests ask of a cluster. Thin: each family of questions has its module."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Self

from protocol.bodies.route import ClusterInfo, TopicRouteData
from protocol.flags import PermName
from protocol.message import MessageQueue
from protocol.names import check_group, check_topic
from rmq_client.admin import topics
from rmq_client.config import ClientConfig, merged
from rmq_client.consumer.offsets import fetch_committed, max_offset, min_offset, search_offset, unix_ms
from rmq_client.errors import NoRoute
from rmq_client.instance import ClientInstance
from rmq_client.results import ConsumerLag, QueueOffsets
from rmq_client.routes import TopicRoute


class AdminClient:
    """Looks at a cluster and changes it.

    namesrv, address_map: as in ClientConfig.

    Use:    `async with AdminClient() as admin: await admin.create_topic("OrderPaid", queues=8)`
    Raises: all methods: NoRoute, RequestTimeout, ConnectionLost, BrokerError.
    """

    def __init__(
        self,
        *,
        namesrv: str | None = None,
        address_map: Mapping[str, str] | None = None,
        client: ClientConfig | None = None,
    ) -> None:
        self._instance = ClientInstance(merged(client, namesrv, address_map))

    async def __aenter__(self) -> Self:
        await self._instance.__aenter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._instance.__aexit__(*exc_info)

    # Topics

    async def create_topic(
        self,
        name: str,
        queues: int = 8,
        *,
        cluster: str | None = None,
        brokers: Iterable[str] | None = None,
        perm: int = PermName.READ_WRITE,
        order: bool = False,
        timeout: float = 30.0,
    ) -> None:
        """Create a topic, or change it, on every master; returns when the nameservers show it.

        queues:  on each broker, for writing and for reading.
        cluster: only brokers of this cluster.
        brokers: only brokers of these names.
        timeout: seconds until the route must be visible.
        Raises:  InvalidName, Misuse.
        """
        self._instance.check_running()
        check_topic(name)
        deadline = asyncio.get_running_loop().time() + timeout
        header = topics.header_for(name, queues, queues, perm, order=order)
        masters = topics.masters_of(await topics.cluster_info(self._instance), cluster, brokers)
        await topics.create_topic(self._instance, masters, header)
        ready = topics.has_queues(masters, queues, queues, perm)
        await topics.wait_for_route(self._instance, name, ready, deadline)

    async def topics(self) -> list[str]:
        """The names of all topics, system topics included."""
        self._instance.check_running()
        return await topics.topic_names(self._instance)

    async def route(self, topic: str) -> TopicRouteData:
        """Where a topic lives.

        Raises: NoRoute when no nameserver knows it.
        """
        return (await self._route(topic)).data

    async def cluster(self) -> ClusterInfo:
        """All brokers, and which cluster they belong to."""
        self._instance.check_running()
        return await topics.cluster_info(self._instance)

    # Offsets

    async def offsets(self, topic: str) -> dict[MessageQueue, QueueOffsets]:
        """The bounds of every queue of a topic."""
        return {
            queue: QueueOffsets(await min_offset(self._instance, queue), await max_offset(self._instance, queue))
            for queue in await self._queues(topic)
        }

    async def offsets_at(self, topic: str, when: datetime | float) -> dict[MessageQueue, int]:
        """For every queue the offset of the first message stored at or after a time.

        when: a datetime (naive: local time) or Unix seconds.
        """
        at_ms = unix_ms(when)
        return {queue: await search_offset(self._instance, queue, at_ms) for queue in await self._queues(topic)}

    async def consumer_offsets(self, group: str, topic: str) -> dict[MessageQueue, int | None]:
        """What a group committed of a topic, None where it committed nothing."""
        check_group(group)
        return {
            queue: await fetch_committed(self._instance, group, queue, guess_zero=False)
            for queue in await self._queues(topic)
        }

    async def consumer_lag(self, group: str, topic: str) -> ConsumerLag:
        """How many messages of a topic a group has not consumed."""
        committed = await self.consumer_offsets(group, topic)
        bounds = await self.offsets(topic)
        return ConsumerLag(
            {queue: max(0, bound.max - max(committed.get(queue) or 0, bound.min)) for queue, bound in bounds.items()}
        )

    async def _queues(self, topic: str) -> tuple[MessageQueue, ...]:
        return (await self._route(topic)).read_queues

    async def _route(self, topic: str) -> TopicRoute:
        self._instance.check_running()
        check_topic(topic)
        route = await self._instance.refresh(topic)
        if route is None:
            raise NoRoute(f"no nameserver knows the topic {topic}")
        return route

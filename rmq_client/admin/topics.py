"""Topics: create, list, route.

Source: apache/rocketmq: tools/.../admin/DefaultMQAdminExtImpl.java
"""

import asyncio
from collections.abc import Callable, Iterable

from protocol.bodies.codec import decode_body
from protocol.bodies.route import ClusterInfo, TopicList, TopicRouteData
from protocol.codes import ResponseCode
from protocol.command import request_command
from protocol.flags import PermName
from protocol.header import NoHeader, to_ext
from protocol.headers.namesrv import (
    GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
    GET_BROKER_CLUSTER_INFO,
    GET_ROUTEINFO_BY_TOPIC,
    RouteInfoHeader,
)
from protocol.headers.topic import UPDATE_AND_CREATE_TOPIC, CreateTopicHeader
from rmq_client.errors import ConnectionLost, Misuse, NoRoute, RequestTimeout, broker_error
from rmq_client.instance import ClientInstance
from rmq_client.log import logger

_log = logger("admin")

FIRST_LOOK_S = 0.01
SLOWEST_LOOK_S = 0.5


async def cluster_info(instance: ClientInstance) -> ClusterInfo:
    """All brokers and clusters that a nameserver knows."""
    _, body = await instance.ask_nameserver(GET_BROKER_CLUSTER_INFO, NoHeader())
    return decode_body(ClusterInfo, body)


async def topic_names(instance: ClientInstance) -> list[str]:
    """The names of all topics, system topics included."""
    _, body = await instance.ask_nameserver(GET_ALL_TOPIC_LIST_FROM_NAMESERVER, NoHeader())
    return sorted(decode_body(TopicList, body).topic_list)


def masters_of(info: ClusterInfo, cluster: str | None, brokers: Iterable[str] | None) -> dict[str, str]:
    """Broker name -> address of the masters that are meant.

    Raises: Misuse for a cluster or broker that does not exist; NoRoute when there is no master at all.
    """
    names = set(info.broker_addr_table)
    if cluster is not None:
        if cluster not in info.cluster_addr_table:
            raise Misuse(f"no cluster is called {cluster!r}; there are {', '.join(info.cluster_addr_table) or 'none'}")
        names &= set(info.cluster_addr_table[cluster])
    if brokers is not None:
        wanted = set(brokers)
        if wanted - names:
            missing = ", ".join(sorted(wanted - names))
            raise Misuse(f"no broker is called {missing}; there are {', '.join(sorted(names))}")
        names = wanted
    masters = {}
    for name in sorted(names):
        address = info.broker_addr_table[name].master_addr
        if address is not None:
            masters[name] = address
    if not masters:
        raise NoRoute("no nameserver knows a master broker")
    return masters


async def create_topic(instance: ClientInstance, masters: dict[str, str], header: CreateTopicHeader) -> None:
    """Create or change a topic on these brokers."""
    for address in masters.values():
        link = await instance.address_link(address)
        await instance.call(link, UPDATE_AND_CREATE_TOPIC, header)


async def wait_for_route(
    instance: ClientInstance, topic: str, ready: Callable[[TopicRouteData], bool], deadline: float
) -> None:
    """Wait until every nameserver that answers has a route that is `ready`.

    Raises: RequestTimeout.
    """
    loop = asyncio.get_running_loop()
    for address in instance.nameservers.addresses:
        pause_s = FIRST_LOOK_S
        while True:
            try:
                data = await _route_at(instance, topic, address)
            except (ConnectionLost, RequestTimeout) as problem:
                if len(instance.nameservers.addresses) > 1:
                    _log.warning("the nameserver %s is left out: %s", address, problem)
                    break
                data = None
            if data is not None and ready(data):
                break
            if loop.time() >= deadline:
                raise RequestTimeout(f"the topic {topic} is created, but the nameserver {address} does not show it")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, SLOWEST_LOOK_S)


def has_queues(masters: Iterable[str], read: int, write: int, perm: int) -> Callable[[TopicRouteData], bool]:
    """Whether a route shows these queue numbers and this permission on all these brokers."""

    def ready(data: TopicRouteData) -> bool:
        shown = {queue.broker_name: queue for queue in data.queue_datas}
        return all(
            name in shown
            and shown[name].read_queue_nums == read
            and shown[name].write_queue_nums == write
            # A broker may mask the permission with its own.
            and shown[name].perm | perm == perm
            for name in masters
        )

    return ready


def header_for(topic: str, read: int, write: int, perm: int, *, order: bool) -> CreateTopicHeader:
    """The request to create a topic.

    Raises: Misuse for numbers that no topic can have.
    """
    if read < 1 or write < 1:
        raise Misuse("a topic has at least one queue")
    if not 0 <= perm < PermName.PRIORITY:
        raise Misuse(f"perm={perm} is not a combination of READ {PermName.READ}, WRITE {PermName.WRITE}")
    return CreateTopicHeader(
        topic=topic, read_queue_nums=read, write_queue_nums=write, perm=perm, topic_sys_flag=0, order=order
    )


async def _route_at(instance: ClientInstance, topic: str, address: str) -> TopicRouteData | None:
    link = await instance.connections.get(address)
    header = RouteInfoHeader(topic=topic, accept_standard_json_only=True)
    response = await link.request(
        request_command(GET_ROUTEINFO_BY_TOPIC.code, to_ext(header)), instance.config.request_timeout_s
    )
    if response.code == ResponseCode.TOPIC_NOT_EXIST:
        return None
    if response.code != ResponseCode.SUCCESS:
        raise broker_error(response.code, response.remark, address)
    return decode_body(TopicRouteData, response.body)

"""Routes and cluster information, as a NameServer answers them."""

import msgspec

from protocol.bodies.codec import Body
from protocol.header import Int32, Int64

MASTER_ID = 0


class QueueData(Body, kw_only=True):
    """The queues of a topic on one broker name; perm holds PermName bits."""

    broker_name: str
    read_queue_nums: Int32
    write_queue_nums: Int32
    perm: Int32
    topic_sys_flag: Int32 = 0


class BrokerData(Body, kw_only=True):
    """The replicas of one broker name: broker id -> `host:port`; id 0 is the master."""

    cluster: str = ""
    broker_name: str
    broker_addrs: dict[Int64, str] = {}
    enable_acting_master: bool = False

    @property
    def master_addr(self) -> str | None:
        return self.broker_addrs.get(MASTER_ID)


class TopicRouteData(Body, kw_only=True):
    """Where a topic lives; order_topic_conf is `broker-a:4;broker-b:4` when an order is configured."""

    broker_datas: list[BrokerData] = []
    filter_server_table: dict[str, list[str]] = {}
    queue_datas: list[QueueData] = []
    order_topic_conf: str | msgspec.UnsetType = msgspec.UNSET


class ClusterInfo(Body, kw_only=True):
    """All brokers by name, and the broker names of each cluster."""

    broker_addr_table: dict[str, BrokerData] = {}
    cluster_addr_table: dict[str, list[str]] = {}


class TopicList(Body, kw_only=True):
    """Topic names."""

    topic_list: list[str] = []
    broker_addr: str | msgspec.UnsetType = msgspec.UNSET


class KVTable(Body, kw_only=True):
    """A namespace of the KV configuration."""

    table: dict[str, str] = {}

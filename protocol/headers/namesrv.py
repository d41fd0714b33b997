"""What brokers, clients and tools ask a NameServer.

Source: apache/rocketmq: remoting/.../protocol/header/namesrv/
"""

from protocol.codes import RequestCode
from protocol.header import Header, Int32, Int64, NoHeader
from protocol.request import request_spec


class RegisterBrokerHeader(Header, kw_only=True):
    """A broker registers its topics.

    heartbeat_timeout_millis: after so long without a word the broker is forgotten; default 120,000.
    compressed, body_crc32:   how the body is packed (bodies/topic_config.py); a CRC of 0 is not checked.
    """

    broker_name: str
    broker_addr: str
    cluster_name: str
    ha_server_addr: str = ""
    broker_id: Int64
    heartbeat_timeout_millis: Int64 | None = None
    enable_acting_master: bool | None = None
    compressed: bool = False
    body_crc32: Int32 = 0


class RegisterBrokerReply(Header, kw_only=True):
    """For slaves: where their master is."""

    ha_server_addr: str | None = None
    master_addr: str | None = None


class BrokerHeader(Header, kw_only=True):
    """One broker by name, address and id."""

    broker_name: str
    broker_addr: str
    cluster_name: str
    broker_id: Int64


class QueryDataVersionReply(Header, kw_only=True):
    """changed: the NameServer's DataVersion of this broker differs from the one sent."""

    changed: bool


class BrokerHeartbeatHeader(Header, kw_only=True):
    """A broker is alive."""

    cluster_name: str
    broker_addr: str
    broker_name: str
    broker_id: Int64 | None = None


class RouteInfoHeader(Header, kw_only=True):
    """accept_standard_json_only: ask for quoted map keys."""

    topic: str
    accept_standard_json_only: bool | None = None


class BrokerNameHeader(Header, kw_only=True):
    """All replicas of one broker name."""

    broker_name: str


class WipeWritePermReply(Header, kw_only=True):
    """wipe_topic_count: topics whose write permission was taken."""

    wipe_topic_count: Int32


class AddWritePermReply(Header, kw_only=True):
    """add_topic_count: topics whose write permission was given back."""

    add_topic_count: Int32


class KvPutHeader(Header, kw_only=True):
    """One entry of the KV configuration."""

    namespace: str
    key: str
    value: str


class KvKeyHeader(Header, kw_only=True):
    """A place in the KV configuration."""

    namespace: str
    key: str


class KvValueReply(Header, kw_only=True):
    """The value found."""

    value: str


class KvNamespaceHeader(Header, kw_only=True):
    """A namespace of the KV configuration."""

    namespace: str


class DeleteTopicInNamesrvHeader(Header, kw_only=True):
    """cluster_name: only at the brokers of that cluster."""

    topic: str
    cluster_name: str | None = None


class RegisterTopicHeader(Header, kw_only=True):
    """A topic whose queues are in the body."""

    topic: str


class ClusterHeader(Header, kw_only=True):
    """One cluster."""

    cluster: str


REGISTER_BROKER = request_spec(
    RequestCode.REGISTER_BROKER,
    RegisterBrokerHeader,
    RegisterBrokerReply,
    body="RegisterBrokerBody",
    reply_body="KVTable of ORDER_TOPIC_CONFIG",
)
UNREGISTER_BROKER = request_spec(RequestCode.UNREGISTER_BROKER, BrokerHeader)
QUERY_DATA_VERSION = request_spec(
    RequestCode.QUERY_DATA_VERSION, BrokerHeader, QueryDataVersionReply, body="DataVersion", reply_body="DataVersion"
)
BROKER_HEARTBEAT = request_spec(RequestCode.BROKER_HEARTBEAT, BrokerHeartbeatHeader)
GET_ROUTEINFO_BY_TOPIC = request_spec(RequestCode.GET_ROUTEINFO_BY_TOPIC, RouteInfoHeader, reply_body="TopicRouteData")
GET_BROKER_CLUSTER_INFO = request_spec(RequestCode.GET_BROKER_CLUSTER_INFO, NoHeader, reply_body="ClusterInfo")
WIPE_WRITE_PERM_OF_BROKER = request_spec(RequestCode.WIPE_WRITE_PERM_OF_BROKER, BrokerNameHeader, WipeWritePermReply)
ADD_WRITE_PERM_OF_BROKER = request_spec(RequestCode.ADD_WRITE_PERM_OF_BROKER, BrokerNameHeader, AddWritePermReply)
GET_ALL_TOPIC_LIST_FROM_NAMESERVER = request_spec(
    RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER, NoHeader, reply_body="TopicList"
)
GET_TOPICS_BY_CLUSTER = request_spec(RequestCode.GET_TOPICS_BY_CLUSTER, ClusterHeader, reply_body="TopicList")
PUT_KV_CONFIG = request_spec(RequestCode.PUT_KV_CONFIG, KvPutHeader)
GET_KV_CONFIG = request_spec(RequestCode.GET_KV_CONFIG, KvKeyHeader, KvValueReply)
DELETE_KV_CONFIG = request_spec(RequestCode.DELETE_KV_CONFIG, KvKeyHeader)
GET_KVLIST_BY_NAMESPACE = request_spec(RequestCode.GET_KVLIST_BY_NAMESPACE, KvNamespaceHeader, reply_body="KVTable")
DELETE_TOPIC_IN_NAMESRV = request_spec(RequestCode.DELETE_TOPIC_IN_NAMESRV, DeleteTopicInNamesrvHeader)
REGISTER_TOPIC_IN_NAMESRV = request_spec(
    RequestCode.REGISTER_TOPIC_IN_NAMESRV, RegisterTopicHeader, body="TopicRouteData"
)

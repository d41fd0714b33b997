"""Settings of a broker beside those of its store, under upstream's keys.

Source: apache/rocketmq: common/.../BrokerConfig.java; design.md 7
"""

from dataclasses import dataclass

from protocol.flags import PermName
from rmq_server.core.config import setting
from rmq_server.store.delay import UPSTREAM_LEVELS, DelayLevels

VIP_PORT_DISTANCE = 2
HA_PORT_DISTANCE = 1


@dataclass(frozen=True, kw_only=True)
class BrokerConfig:
    """A broker's identity, its addresses and its policies."""

    broker_name: str = setting("broker-a", "brokerName", doc="name shared by a master and its slaves")
    cluster_name: str = setting("DefaultCluster", "brokerClusterName", doc="cluster that the broker belongs to")
    broker_id: int = setting(0, "brokerId", doc="0 is the master")
    namesrv_addr: str = setting("", "namesrvAddr", doc="NameServers as host:port, joined with ';'")
    bind_address: str = setting("127.0.0.1", "bindAddress", doc="address to listen on")
    listen_port: int = setting(10911, "listenPort", doc="main port; 0 takes a free one", low=0, high=65535)
    advertise_host: str = setting("", "brokerIP1", doc="host that clients are told to connect to")
    advertise_port: int = 0
    permission: int = setting(PermName.READ_WRITE, "brokerPermission", doc="4 read, 2 write, 6 both", low=0, high=6)
    auto_create_topic: bool = setting(True, "autoCreateTopicEnable", doc="create a topic with its first message")
    auto_create_group: bool = setting(True, "autoCreateSubscriptionGroup", doc="create a group at its first heartbeat")
    default_topic_queue_nums: int = setting(8, "defaultTopicQueueNums", doc="queues of the template TBW102", low=1)
    cluster_topic: bool = setting(True, "clusterTopicEnable", doc="the topic named after the cluster is usable")
    broker_topic: bool = setting(True, "brokerTopicEnable", doc="the topic named after the broker is usable")
    trace_topic: bool = setting(False, "traceTopicEnable", doc="create the topic of message traces")
    trace_topic_name: str = setting("RMQ_SYS_TRACE_TOPIC", "msgTraceTopicName", doc="name of that topic")
    timer_topic: bool = setting(True, "timerWheelEnable", doc="create the topic of timer messages")
    revive_queue_nums: int = setting(8, "reviveQueueNum", doc="queues of the revive topic", low=1)
    region_id: str = setting("DefaultRegion", "regionId", doc="told to producers with each message")
    trace_on: bool = setting(True, "traceOn", doc="told to producers with each message")
    long_polling: bool = setting(True, "longPollingEnable", doc="hold empty pulls as long as they ask for")
    short_polling_ms: int = setting(1000, "shortPollingTimeMills", doc="hold time without long polling", low=1)
    lite_pull: bool = setting(True, "litePullMessageEnable", doc="accept LITE_PULL_MESSAGE")
    notify_members: bool = setting(True, "notifyConsumerIdsChangedEnable", doc="tell a group of its changes")
    register_period_ms: int = setting(30_000, "registerNameServerPeriod", doc="10,000 to 60,000")
    register_timeout_ms: int = setting(24_000, "registerBrokerTimeoutMills", doc="wait for one NameServer", low=1)
    persist_offsets_ms: int = setting(
        5_000, "flushConsumerOffsetInterval", doc="write consumerOffset.json every …", low=100
    )
    channel_expired_ms: int = setting(
        120_000, "channelExpiredTimeout", doc="a silent client is forgotten after …", low=1
    )
    delay_levels: str = setting(
        UPSTREAM_LEVELS, "messageDelayLevel", doc="delays of the levels 1, 2, …: numbers with s, m, h or d"
    )
    lock_live_ms: int = setting(60_000, "rebalanceLockMaxLiveTime", doc="a queue lock lives so long unrenewed", low=1)

    def __post_init__(self) -> None:
        if 0 < self.listen_port <= VIP_PORT_DISTANCE:
            raise ValueError(f"listenPort={self.listen_port} leaves no port for the VIP port, which is 2 below it")
        DelayLevels(self.delay_levels)

"""Settings of a NameServer.

Source: apache/rocketmq: common/.../namesrv/NamesrvConfig.java, remoting/.../netty/NettyServerConfig.java
"""

from dataclasses import dataclass
from pathlib import Path

from rmq_server.core.config import setting

DEFAULT_PORT = 9876


def _default_kv_config_path() -> Path:
    return Path.home() / "namesrv" / "kvConfig.json"


@dataclass(frozen=True, kw_only=True)
class NamesrvConfig:
    """Differs: upstream binds to all interfaces; we bind to loopback until told otherwise."""

    listen_port: int = setting(DEFAULT_PORT, "listenPort", doc="0 takes a free one", low=0, high=65535)
    bind_address: str = setting("127.0.0.1", "bindAddress", doc="0.0.0.0 for all interfaces")
    kv_config_path: Path = setting(  # noqa: RUF009 -- a field like all the others
        _default_kv_config_path, "kvConfigPath", doc="file of the KV configuration"
    )
    order_message_enable: bool = setting(False, "orderMessageEnable", doc="routes carry orderTopicConf")
    return_order_topic_config_to_broker: bool = setting(
        True, "returnOrderTopicConfigToBroker", doc="registrations are answered with the order configuration"
    )
    enable_topic_list: bool = setting(True, "enableTopicList", doc="answer topics by cluster")
    enable_all_topic_list: bool = setting(True, "enableAllTopicList", doc="answer the list of all topics")
    delete_topic_with_broker_registration: bool = setting(
        False, "deleteTopicWithBrokerRegistration", doc="a registration removes the broker's topics that it leaves out"
    )
    scan_not_active_broker_interval_ms: int = setting(
        5_000, "scanNotActiveBrokerInterval", doc="between two looks for silent brokers", low=10
    )
    server_channel_max_idle_time_s: int = setting(
        120, "serverChannelMaxIdleTimeSeconds", doc="a connection without traffic is closed after this time", low=1
    )

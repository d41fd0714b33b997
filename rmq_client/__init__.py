"""The asyncio client for RocketMQ clusters, Apache's or ours."""

from protocol.allocate import (
    AVERAGELY,
    AVERAGELY_BY_CIRCLE,
    AllocateStrategy,
    ConfiguredQueues,
    ConsistentHash,
    FunctionStrategy,
    MachineRoom,
    MachineRoomNearby,
)
from protocol.bodies.route import ClusterInfo, TopicRouteData
from protocol.errors import ProtocolError, RocketMQError
from protocol.message import Message, MessageExt, MessageQueue
from rmq_client.admin import AdminClient
from rmq_client.backoff import BackoffPolicy
from rmq_client.config import ClientConfig, ConsumeFrom, ConsumerConfig, ProducerConfig
from rmq_client.consumer.pull import PullConsumer
from rmq_client.consumer.push import PushConsumer
from rmq_client.errors import (
    BrokerError,
    BrokerFailure,
    ClientError,
    ConnectFailed,
    ConnectionLost,
    FlowControl,
    GroupNotExist,
    InvalidParameter,
    MessageIllegal,
    Misuse,
    NoPermission,
    NoRoute,
    NotFound,
    NotRunning,
    NotSupported,
    RequestTimeout,
    ServiceNotAvailable,
    SubscriptionInvalid,
    SubscriptionStale,
    TopicNotExist,
    WrongUnit,
)
from rmq_client.producer import Producer, QueueSelector
from rmq_client.results import ConsumerLag, PullResult, PullStatus, QueueOffsets, SendResult, SendStatus

__all__ = [  # noqa: RUF022 - grouped by what they are for
    # clients
    "AdminClient",
    "Producer",
    "PullConsumer",
    "PushConsumer",
    # messages
    "Message",
    "MessageExt",
    "MessageQueue",
    # results
    "ClusterInfo",
    "ConsumerLag",
    "PullResult",
    "PullStatus",
    "QueueOffsets",
    "SendResult",
    "SendStatus",
    "TopicRouteData",
    # settings
    "BackoffPolicy",
    "ClientConfig",
    "ConsumeFrom",
    "ConsumerConfig",
    "ProducerConfig",
    "QueueSelector",
    # allocation strategies
    "AVERAGELY",
    "AVERAGELY_BY_CIRCLE",
    "AllocateStrategy",
    "ConfiguredQueues",
    "ConsistentHash",
    "FunctionStrategy",
    "MachineRoom",
    "MachineRoomNearby",
    # errors: the root, ours, the broker's
    "RocketMQError",
    "ProtocolError",
    "ClientError",
    "ConnectFailed",
    "ConnectionLost",
    "Misuse",
    "NoRoute",
    "NotRunning",
    "RequestTimeout",
    "BrokerError",
    "BrokerFailure",
    "FlowControl",
    "GroupNotExist",
    "InvalidParameter",
    "MessageIllegal",
    "NoPermission",
    "NotFound",
    "NotSupported",
    "ServiceNotAvailable",
    "SubscriptionInvalid",
    "SubscriptionStale",
    "TopicNotExist",
    "WrongUnit",
]

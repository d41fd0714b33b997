"""The asyncio client for RocketMQ clusters, Apache's or ours."""

from protocol.message import Message, MessageExt, MessageQueue
from rmq_client.backoff import BackoffPolicy
from rmq_client.config import ClientConfig, ConsumeFrom, ConsumerConfig, ProducerConfig
from rmq_client.consumer.push import PushConsumer
from rmq_client.errors import BrokerError, ClientError
from rmq_client.producer import Producer, QueueSelector
from rmq_client.results import PullResult, PullStatus, SendResult, SendStatus

__all__ = [
    "BackoffPolicy",
    "BrokerError",
    "ClientConfig",
    "ClientError",
    "ConsumeFrom",
    "ConsumerConfig",
    "Message",
    "MessageExt",
    "MessageQueue",
    "Producer",
    "ProducerConfig",
    "PullResult",
    "PullStatus",
    "PushConsumer",
    "QueueSelector",
    "SendResult",
    "SendStatus",
]

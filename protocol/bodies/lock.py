"""Queue locks of ordered consumption."""

import msgspec

from protocol.bodies.codec import Body
from protocol.header import Int32
from protocol.message import MessageQueue


class LockQueue(Body, kw_only=True):
    """A MessageQueue in JSON."""

    broker_name: str
    queue_id: Int32
    topic: str

    @classmethod
    def of(cls, queue: MessageQueue) -> "LockQueue":
        """The JSON form of a queue."""
        return cls(broker_name=queue.broker_name, queue_id=queue.queue_id, topic=queue.topic)

    @property
    def queue(self) -> MessageQueue:
        return MessageQueue(self.topic, self.broker_name, self.queue_id)


class LockBatch(Body, kw_only=True):
    """Queues that one member wants to lock or release."""

    client_id: str
    consumer_group: str
    mq_set: list[LockQueue] = []
    only_this_broker: bool = False


class LockedQueues(Body, kw_only=True):
    """Those that are now locked by the asker."""

    lock_ok_mq_set: list[LockQueue] = msgspec.field(default_factory=list, name="lockOKMQSet")

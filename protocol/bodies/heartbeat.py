"""Heartbeats and subscriptions."""

import msgspec

from protocol.bodies.codec import Body
from protocol.hashing import java_hash
from protocol.header import Int32, Int64

SUBSCRIBE_ALL = "*"
TAG_SEPARATOR = "||"


class ExpressionType:
    """How a subscription filters."""

    TAG = "TAG"
    SQL92 = "SQL92"


class MessageModel:
    """How a group shares its messages."""

    CLUSTERING = "CLUSTERING"
    BROADCASTING = "BROADCASTING"


class ConsumeType:
    """Who drives consumption: the application, the client, or the broker's leases."""

    ACTIVELY = "CONSUME_ACTIVELY"
    PASSIVELY = "CONSUME_PASSIVELY"
    POP = "CONSUME_POP"


class ConsumeFromWhere:
    """Where a group begins that has no offset yet."""

    LAST_OFFSET = "CONSUME_FROM_LAST_OFFSET"
    FIRST_OFFSET = "CONSUME_FROM_FIRST_OFFSET"
    TIMESTAMP = "CONSUME_FROM_TIMESTAMP"


class SubscriptionData(Body, kw_only=True):
    """What a group wants of one topic.

    tags_set, code_set: the tags of a TAG expression and their hashes; empty means all messages.
    sub_version:        the client's clock (Java milliseconds, Go nanoseconds).
    """

    class_filter_mode: bool = False
    code_set: list[Int32] = []
    expression_type: str = ExpressionType.TAG
    sub_string: str = SUBSCRIBE_ALL
    sub_version: Int64 = 0
    tags_set: list[str] = []
    topic: str = ""

    @classmethod
    def of(
        cls, topic: str, expression: str | None, version: int, expression_type: str | None = None
    ) -> "SubscriptionData":
        """Build a subscription from an expression; `*` and an empty one mean everything."""
        text = (expression or "").strip()
        if (expression_type or ExpressionType.TAG) != ExpressionType.TAG:
            return cls(topic=topic, sub_string=text, sub_version=version, expression_type=expression_type or "")
        tags = tags_of(text)
        return cls(
            topic=topic,
            sub_string=text or SUBSCRIBE_ALL,
            sub_version=version,
            tags_set=tags,
            code_set=[java_hash(tag) for tag in tags],
        )

    def same_filter(self, other: "SubscriptionData") -> bool:
        """Whether both let the same messages through, whatever their versions and their way of writing it."""
        if self.expression_type != other.expression_type:
            return False
        if self.expression_type == ExpressionType.TAG:
            return set(self.tags_set) == set(other.tags_set)
        return self.sub_string == other.sub_string


class ConsumerData(Body, kw_only=True):
    """One consumer group of a client."""

    consume_from_where: str = ConsumeFromWhere.LAST_OFFSET
    consume_type: str = ConsumeType.PASSIVELY
    group_name: str
    message_model: str = MessageModel.CLUSTERING
    subscription_data_set: list[SubscriptionData] = []
    unit_mode: bool = False


class ProducerData(Body, kw_only=True):
    """One producer group of a client."""

    group_name: str


class HeartbeatData(Body, kw_only=True):
    """A client says who it is.

    without_sub: the subscriptions are left out because they did not change; they must be kept.
    """

    client_id: str = msgspec.field(name="clientID")
    consumer_data_set: list[ConsumerData] = []
    heartbeat_fingerprint: Int32 = 0
    producer_data_set: list[ProducerData] = []
    without_sub: bool = False


class CheckClientConfig(Body, kw_only=True):
    """A subscription that a client wants checked before it starts."""

    client_id: str = ""
    group: str = ""
    subscription_data: SubscriptionData


class ConsumerList(Body, kw_only=True):
    """The client ids of a group's live members."""

    consumer_id_list: list[str] = []


def tags_of(expression: str) -> list[str]:
    """The tags of a TAG expression in the order given; none for `*` or an empty one."""
    if not expression or expression == SUBSCRIBE_ALL:
        return []
    return list(dict.fromkeys(tag for part in expression.split(TAG_SEPARATOR) if (tag := part.strip())))

"""What a group wants of its topics.

Source: apache/rocketmq: common/.../filter/FilterAPI.java; behaviour.md 8.2
"""

from collections.abc import Mapping

from protocol.bodies.heartbeat import SUBSCRIBE_ALL, SubscriptionData, tags_of
from protocol.names import check_topic
from rmq_client.errors import Misuse


def subscriptions_of(wanted: str | Mapping[str, str], version: int) -> dict[str, SubscriptionData]:
    """Read `{topic: expression}`, or a topic of which everything is wanted.

    expression: tags joined with `||`; `*` or an empty text for everything.
    Raises: InvalidName for a topic, Misuse for an expression without any tag.
    """
    table = {wanted: SUBSCRIBE_ALL} if isinstance(wanted, str) else dict(wanted)
    if not table:
        raise Misuse("a consumer needs at least one subscription")
    return {topic: subscription_of(topic, expression, version) for topic, expression in table.items()}


def subscription_of(topic: str, expression: str, version: int) -> SubscriptionData:
    """One subscription by tags.

    Raises: as `subscriptions_of`.
    """
    check_topic(topic)
    text = expression.strip()
    if text and text != SUBSCRIBE_ALL and not tags_of(text):
        raise Misuse(f"the expression {expression!r} for {topic} names no tag")
    return SubscriptionData.of(topic, text, version)

"""Names that have a meaning, and the rules that a name must keep.

A name that passes `check_topic` or `check_group` is safe as a path component: the alphabet has no dot and no slash.
Source: apache/rocketmq: common/.../topic/TopicValidator.java, MixAll.java, remoting.md 2.9, 2.10
"""

import re

from protocol.errors import InvalidName

RETRY_PREFIX = "%RETRY%"
DLQ_PREFIX = "%DLQ%"

AUTO_CREATE_TOPIC = "TBW102"
SCHEDULE_TOPIC = "SCHEDULE_TOPIC_XXXX"
BENCHMARK_TOPIC = "BenchmarkTest"
TRANS_HALF_TOPIC = "RMQ_SYS_TRANS_HALF_TOPIC"
TRANS_OP_HALF_TOPIC = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
TRANS_CHECK_MAX_TIME_TOPIC = "TRANS_CHECK_MAX_TIME_TOPIC"
TRACE_TOPIC = "RMQ_SYS_TRACE_TOPIC"
SELF_TEST_TOPIC = "SELF_TEST_TOPIC"
OFFSET_MOVED_EVENT = "OFFSET_MOVED_EVENT"
CHECKPOINT_TOPIC = "CHECKPOINT_TOPIC"
TIMER_TOPIC = "rmq_sys_wheel_timer"
SYSTEM_TOPIC_PREFIX = "rmq_sys_"

SYSTEM_TOPICS = frozenset(
    {
        AUTO_CREATE_TOPIC,
        SCHEDULE_TOPIC,
        BENCHMARK_TOPIC,
        TRANS_HALF_TOPIC,
        TRANS_OP_HALF_TOPIC,
        TRANS_CHECK_MAX_TIME_TOPIC,
        TRACE_TOPIC,
        SELF_TEST_TOPIC,
        OFFSET_MOVED_EVENT,
        CHECKPOINT_TOPIC,
    }
)

NOT_SENDABLE_TOPICS = frozenset(
    {
        SCHEDULE_TOPIC,
        TRANS_HALF_TOPIC,
        TRANS_OP_HALF_TOPIC,
        TRANS_CHECK_MAX_TIME_TOPIC,
        SELF_TEST_TOPIC,
        OFFSET_MOVED_EVENT,
    }
)
"""Topics that clients may not send to (NO_PERMISSION)."""

SYSTEM_GROUPS = (
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
)
SYSTEM_GROUP_PREFIX = "CID_RMQ_SYS_"

CLIENT_INNER_PRODUCER = "CLIENT_INNER_PRODUCER"
DEFAULT_PRODUCER_GROUP = "DEFAULT_PRODUCER"
DEFAULT_CONSUMER_GROUP = "DEFAULT_CONSUMER"
ORDER_TOPIC_NAMESPACE = "ORDER_TOPIC_CONFIG"

MAX_TOPIC_LENGTH = 127
MAX_RETRY_TOPIC_LENGTH = 255
MAX_GROUP_LENGTH = 120
MAX_PROPERTIES_BYTES = 32_767
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

_LEGAL = re.compile(r"[%|a-zA-Z0-9_-]+")
_ILLEGAL_CHARACTER = re.compile(r"[^%|a-zA-Z0-9_-]")


def retry_topic(group: str) -> str:
    """The topic in which a group's failed messages come back."""
    return RETRY_PREFIX + group


def dlq_topic(group: str) -> str:
    """The topic in which a group's messages end that were retried too often."""
    return DLQ_PREFIX + group


def is_system_topic(topic: str) -> bool:
    """Whether a topic belongs to the broker and not to a user."""
    return topic in SYSTEM_TOPICS or topic.startswith(SYSTEM_TOPIC_PREFIX)


def is_system_group(group: str) -> bool:
    """Whether a consumer group belongs to the broker and not to a user."""
    return group in SYSTEM_GROUPS or group.startswith(SYSTEM_GROUP_PREFIX)


def check_topic(topic: str) -> None:
    """Raise InvalidName unless `topic` is a legal topic name, a retry or dead-letter topic included."""
    limit = MAX_RETRY_TOPIC_LENGTH if topic.startswith((RETRY_PREFIX, DLQ_PREFIX)) else MAX_TOPIC_LENGTH
    _check("topic", topic, limit)


def check_group(group: str) -> None:
    """Raise InvalidName unless `group` is a legal consumer or producer group name."""
    _check("group", group, MAX_GROUP_LENGTH)


def _check(kind: str, name: str, limit: int) -> None:
    if not name or name.isspace():
        raise InvalidName(f"the {kind} is empty")
    if len(name) > limit:
        raise InvalidName(f"the {kind} is {len(name)} characters long, the limit is {limit}: {name[:40]!r}…")
    if not _LEGAL.fullmatch(name):
        bad = _ILLEGAL_CHARACTER.search(name)
        assert bad is not None
        raise InvalidName(
            f"the {kind} {name!r} has the illegal character {bad.group()!r}; allowed are a-z A-Z 0-9 _ - % |"
        )

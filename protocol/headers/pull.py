"""PULL_MESSAGE and LITE_PULL_MESSAGE.

Source: apache/rocketmq: remoting/.../protocol/header/PullMessageRequestHeader.java, PullMessageResponseHeader.java
"""

from protocol.codes import RequestCode
from protocol.header import Header, Int32, Int64
from protocol.request import request_spec


class PullMessageHeader(Header, kw_only=True):
    """A pull of one queue.

    sys_flag:               PullSysFlag bits.
    suspend_timeout_millis: how long the broker may hold the request when there is nothing.
    commit_offset:          the group's progress, stored when the flag says so.
    subscription:           the filter expression, when the flag says so.
    sub_version:            version of the subscription; the client's clock in milliseconds.
    """

    consumer_group: str
    topic: str
    queue_id: Int32
    queue_offset: Int64
    max_msg_nums: Int32
    sys_flag: Int32
    commit_offset: Int64
    suspend_timeout_millis: Int64
    subscription: str | None = None
    sub_version: Int64
    expression_type: str | None = None
    max_msg_bytes: Int32 | None = None
    bname: str | None = None


class PullMessageReply(Header, kw_only=True):
    """The state of the queue; all four offsets are present with codes 0, 19, 20 and 21."""

    suggest_which_broker_id: Int64
    next_begin_offset: Int64
    min_offset: Int64
    max_offset: Int64
    topic_sys_flag: Int32 | None = None
    group_sys_flag: Int32 | None = None
    forbidden_type: Int32 | None = None


PULL_MESSAGE = request_spec(
    RequestCode.PULL_MESSAGE, PullMessageHeader, PullMessageReply, reply_body="records (record.py)"
)
LITE_PULL_MESSAGE = request_spec(
    RequestCode.LITE_PULL_MESSAGE, PullMessageHeader, PullMessageReply, reply_body="records (record.py)"
)

"""Heartbeats, group membership, queue locks.

Source: apache/rocketmq: remoting/.../protocol/header/UnregisterClientRequestHeader.java and its neighbours
"""

import msgspec

from protocol.codes import RequestCode
from protocol.header import Header, NoHeader
from protocol.request import request_spec


class HeartbeatReply(Header, kw_only=True):
    """What the broker knows about heartbeat version 2."""

    is_support_heart_beat_v2: bool | None = msgspec.field(default=None, name="IS_SUPPORT_HEART_BEAT_V2")
    is_sub_change: bool | None = msgspec.field(default=None, name="IS_SUB_CHANGE")


class UnregisterClientHeader(Header, kw_only=True):
    """A client leaves one of its groups."""

    client_id: str = msgspec.field(name="clientID")
    producer_group: str | None = None
    consumer_group: str | None = None


class ConsumerGroupHeader(Header, kw_only=True):
    """One consumer group."""

    consumer_group: str


HEART_BEAT = request_spec(RequestCode.HEART_BEAT, NoHeader, HeartbeatReply, body="HeartbeatData")
UNREGISTER_CLIENT = request_spec(RequestCode.UNREGISTER_CLIENT, UnregisterClientHeader)
GET_CONSUMER_LIST_BY_GROUP = request_spec(
    RequestCode.GET_CONSUMER_LIST_BY_GROUP, ConsumerGroupHeader, reply_body="ConsumerList"
)
NOTIFY_CONSUMER_IDS_CHANGED = request_spec(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, ConsumerGroupHeader)
LOCK_BATCH_MQ = request_spec(RequestCode.LOCK_BATCH_MQ, NoHeader, body="LockBatch", reply_body="LockedQueues")
UNLOCK_BATCH_MQ = request_spec(RequestCode.UNLOCK_BATCH_MQ, NoHeader, body="LockBatch")
CHECK_CLIENT_CONFIG = request_spec(RequestCode.CHECK_CLIENT_CONFIG, NoHeader, body="CheckClientConfig")

"""Consumer group configurations and committed offsets, as their files and requests hold them."""

from typing import Any

import msgspec

from protocol.bodies.codec import Body, FrozenBody
from protocol.bodies.topic_config import DataVersion
from protocol.header import Int32, Int64


class GroupRetryPolicy(FrozenBody, frozen=True, kw_only=True):
    """How redeliveries are spaced: CUSTOMIZED (the delay levels) or EXPONENTIAL."""

    type: str = "CUSTOMIZED"
    customized_retry_policy: Any = msgspec.UNSET
    exponential_retry_policy: Any = msgspec.UNSET


class SubscriptionGroupConfig(Body, kw_only=True):
    """One consumer group on one broker."""

    attributes: dict[str, str] = {}
    broker_id: Int64 = 0
    consume_broadcast_enable: bool = True
    consume_enable: bool = True
    consume_from_min_enable: bool = True
    consume_message_orderly: bool = False
    consume_timeout_minute: Int32 = 15
    group_name: str
    group_retry_policy: GroupRetryPolicy = GroupRetryPolicy()
    group_sys_flag: Int32 = 0
    notify_consumer_ids_changed_enable: bool = True
    retry_max_times: Int32 = 16
    retry_queue_nums: Int32 = 1
    subscription_data_set: Any = msgspec.UNSET
    which_broker_when_consume_slowly: Int64 = 1


class SubscriptionGroupTable(Body, kw_only=True):
    """subscriptionGroup.json; forbidden_table: group -> topic -> bits, 2 forbids reading."""

    data_version: DataVersion = DataVersion()
    forbidden_table: dict[str, dict[str, Int32]] = {}
    subscription_group_table: dict[str, SubscriptionGroupConfig] = {}


class ConsumerOffsetTable(Body, kw_only=True):
    """consumerOffset.json; offset_table: `topic@group` -> queue id -> next queue offset to consume."""

    data_version: DataVersion = DataVersion()
    offset_table: dict[str, dict[Int32, Int64]] = {}

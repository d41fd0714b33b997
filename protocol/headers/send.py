"""SEND_MESSAGE, SEND_MESSAGE_V2 and SEND_BATCH_MESSAGE.

Source: apache/rocketmq: remoting/.../protocol/header/SendMessageRequestHeader.java, SendMessageRequestHeaderV2.java
"""

import msgspec

from protocol.codes import RequestCode
from protocol.header import Header, Int32, Int64, renamed
from protocol.names import AUTO_CREATE_TOPIC
from protocol.request import request_spec


class SendMessageHeader(Header, kw_only=True):
    """A send, under the names of code 10.

    queue_id:              below 0 lets the broker choose.
    default_topic:         template for automatic creation.
    born_timestamp:        client clock, Unix milliseconds.
    properties:            the properties text (message.py).
    """

    producer_group: str
    topic: str
    default_topic: str = AUTO_CREATE_TOPIC
    default_topic_queue_nums: Int32 = 4
    queue_id: Int32
    sys_flag: Int32
    born_timestamp: Int64
    flag: Int32
    properties: str | None = None
    reconsume_times: Int32 | None = None
    unit_mode: bool | None = None
    max_reconsume_times: Int32 | None = None
    batch: bool | None = None
    bname: str | None = None


SendMessageHeaderV2 = renamed(
    SendMessageHeader,
    "SendMessageHeaderV2",
    {
        "producer_group": "a",
        "topic": "b",
        "default_topic": "c",
        "default_topic_queue_nums": "d",
        "queue_id": "e",
        "sys_flag": "f",
        "born_timestamp": "g",
        "flag": "h",
        "properties": "i",
        "reconsume_times": "j",
        "unit_mode": "k",
        "max_reconsume_times": "l",
        "batch": "m",
        "bname": "n",
    },
)
"""The same fields under the letters of codes 310 and 320."""


class SendMessageReply(Header, kw_only=True):
    """Where the message went; also with codes 10, 11 and 12, which mean stored.

    msg_id:       offset message id; of a batch, one per message, joined with commas.
    queue_offset: of the first message of a batch.
    """

    msg_id: str
    queue_id: Int32
    queue_offset: Int64
    transaction_id: str | None = None
    region_id: str | None = msgspec.field(default=None, name="MSG_REGION")
    trace_on: str | None = msgspec.field(default=None, name="TRACE_ON")


SEND_MESSAGE = request_spec(RequestCode.SEND_MESSAGE, SendMessageHeader, SendMessageReply, body="the message body")
SEND_MESSAGE_V2 = request_spec(
    RequestCode.SEND_MESSAGE_V2, SendMessageHeaderV2, SendMessageReply, body="the message body"
)
SEND_BATCH_MESSAGE = request_spec(
    RequestCode.SEND_BATCH_MESSAGE, SendMessageHeaderV2, SendMessageReply, body="a batch (batch.py)"
)

"""Topic configuration at a broker.

Source: apache/rocketmq: remoting/.../protocol/header/CreateTopicRequestHeader.java
"""

from protocol.codes import RequestCode
from protocol.header import Header, Int32
from protocol.names import AUTO_CREATE_TOPIC
from protocol.request import request_spec


class CreateTopicHeader(Header, kw_only=True):
    """A topic to create or change.

    perm:       PermName bits.
    attributes: `+key=value` and `-key`, joined with commas; empty when none.
    """

    topic: str
    default_topic: str = AUTO_CREATE_TOPIC
    read_queue_nums: Int32
    write_queue_nums: Int32
    perm: Int32
    topic_filter_type: str = "SINGLE_TAG"
    topic_sys_flag: Int32 | None = None
    order: bool = False
    attributes: str | None = None
    force: bool | None = None


UPDATE_AND_CREATE_TOPIC = request_spec(RequestCode.UPDATE_AND_CREATE_TOPIC, CreateTopicHeader)

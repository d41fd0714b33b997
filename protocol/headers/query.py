"""QUERY_MESSAGE and VIEW_MESSAGE_BY_ID.

Source: apache/rocketmq: remoting/.../protocol/header/QueryMessageRequestHeader.java, QueryMessageResponseHeader.java,
ViewMessageRequestHeader.java; common/.../MixAll.java (UNIQUE_MSG_QUERY_FLAG)
"""

import msgspec

from protocol.codes import RequestCode
from protocol.header import Header, Int32, Int64
from protocol.request import request_spec


class QueryMessageHeader(Header, kw_only=True):
    """A search by key.

    max_num:                 most messages that are wanted.
    begin and end timestamp: store times, Unix milliseconds, both included.
    unique_key_query:        whether the key is a UNIQ_KEY; else it is that, or a word of KEYS.
    """

    topic: str
    key: str
    max_num: Int32
    begin_timestamp: Int64
    end_timestamp: Int64
    unique_key_query: bool | None = msgspec.field(default=None, name="_UNIQUE_KEY_QUERY")
    bname: str | None = None


class QueryMessageReply(Header, kw_only=True):
    """Store time and physical offset of the last message that the index has; also with QUERY_NOT_FOUND."""

    index_last_update_timestamp: Int64
    index_last_update_phyoffset: Int64


class ViewMessageHeader(Header, kw_only=True):
    """One message by its physical offset, which its offset message id holds."""

    offset: Int64
    topic: str | None = None
    bname: str | None = None


QUERY_MESSAGE = request_spec(
    RequestCode.QUERY_MESSAGE, QueryMessageHeader, QueryMessageReply, reply_body="records (record.py)"
)
VIEW_MESSAGE_BY_ID = request_spec(
    RequestCode.VIEW_MESSAGE_BY_ID, ViewMessageHeader, reply_body="one record (record.py)"
)

"""QUERY_MESSAGE and VIEW_MESSAGE_BY_ID: messages by key, and by where they are.

Differs: upstream answers with whatever has the same hash; here the key is compared. A search of a long chain lets other
requests run in between, and an answer stays within what clients take in one frame.
Source: apache/rocketmq: broker/.../processor/QueryMessageProcessor.java
"""

import asyncio

from protocol.codes import ResponseCode
from protocol.headers.query import (
    QUERY_MESSAGE,
    VIEW_MESSAGE_BY_ID,
    QueryMessageHeader,
    QueryMessageReply,
    ViewMessageHeader,
)
from protocol.request import handles
from rmq_server.core.errors import Reject
from rmq_server.net.peer import Reply
from rmq_server.net.router import Request
from rmq_server.store.message_store import MessageStore

_MAX_COUNT = 64
_MAX_UNIQUE_COUNT = 32
_MAX_BYTES = 8 * 1024 * 1024  # the frame limit of clients is 16 MiB; a larger message is answered alone


class QueryProcessor:
    """Finds messages."""

    def __init__(self, store: MessageStore) -> None:
        self._store = store

    @handles(QUERY_MESSAGE)
    async def query(self, request: Request[QueryMessageHeader]) -> Reply:
        """The newest messages with a key, in the order in which they were stored; QUERY_NOT_FOUND for none."""
        header = request.header
        unique = header.unique_key_query is True
        most = _MAX_UNIQUE_COUNT if unique else max(1, min(header.max_num, _MAX_COUNT))
        found: list[memoryview] = []
        size = 0
        for view in self._store.find(
            header.topic, header.key, header.begin_timestamp, header.end_timestamp, unique=unique
        ):
            if view is None:
                await asyncio.sleep(0)
                continue
            size += len(view)
            if found and size > _MAX_BYTES:
                break
            found.append(view)
            if len(found) == most:
                break
        end_ms, end_offset = self._store.index_end
        last = QueryMessageReply(index_last_update_timestamp=end_ms, index_last_update_phyoffset=end_offset)
        if found:
            return Reply(header=last, pieces=found[::-1])
        return Reply(
            ResponseCode.QUERY_NOT_FOUND, header=last, remark="can not find message, maybe time range not correct"
        )

    @handles(VIEW_MESSAGE_BY_ID)
    def view(self, request: Request[ViewMessageHeader]) -> Reply:
        """The message at a physical offset."""
        view = self._store.record_at(request.header.offset)
        if view is None:
            raise Reject(ResponseCode.SYSTEM_ERROR, f"can not find message by the offset, {request.header.offset}")
        return Reply(pieces=[view])

"""The KV configuration over the wire."""

from protocol.bodies.codec import encode_body
from protocol.bodies.route import KVTable
from protocol.codes import ResponseCode
from protocol.headers.namesrv import (
    DELETE_KV_CONFIG,
    GET_KV_CONFIG,
    GET_KVLIST_BY_NAMESPACE,
    PUT_KV_CONFIG,
    KvKeyHeader,
    KvNamespaceHeader,
    KvPutHeader,
    KvValueReply,
)
from protocol.request import handles
from rmq_server.core.errors import Reject
from rmq_server.namesrv.kvconfig import KVConfig
from rmq_server.net.peer import Reply
from rmq_server.net.router import Request


class KVProcessor:
    """Reads at once, answers writes when they are on disk."""

    def __init__(self, kv: KVConfig) -> None:
        self._kv = kv

    @handles(PUT_KV_CONFIG)
    async def put(self, request: Request[KvPutHeader]) -> Reply:
        header = request.header
        await self._kv.put(header.namespace, header.key, header.value)
        return Reply()

    @handles(GET_KV_CONFIG)
    def get(self, request: Request[KvKeyHeader]) -> Reply:
        namespace, key = request.header.namespace, request.header.key
        value = self._kv.get(namespace, key)
        if value is None:
            remark = f"No config item, Namespace: {namespace} Key: {key}"
            raise Reject(ResponseCode.QUERY_NOT_FOUND, remark)
        return Reply(header=KvValueReply(value=value))

    @handles(DELETE_KV_CONFIG)
    async def delete(self, request: Request[KvKeyHeader]) -> Reply:
        await self._kv.delete(request.header.namespace, request.header.key)
        return Reply()

    @handles(GET_KVLIST_BY_NAMESPACE)
    def table(self, request: Request[KvNamespaceHeader]) -> Reply:
        table = self._kv.namespace(request.header.namespace)
        if not table:
            remark = f"No config item, Namespace: {request.header.namespace}"
            raise Reject(ResponseCode.QUERY_NOT_FOUND, remark)
        return Reply(body=encode_body(KVTable(table=dict(table))))

"""Brokers come, speak and go: registration, heartbeat, goodbye."""

from zlib import crc32

from protocol.address import InvalidAddress, parse_address
from protocol.bodies.codec import decode_body, encode_body
from protocol.bodies.route import KVTable
from protocol.bodies.topic_config import DataVersion, TopicConfigTable, decode_register_body
from protocol.codes import VERSION_REGISTER_BROKER_BODY, ResponseCode
from protocol.headers.namesrv import (
    BROKER_HEARTBEAT,
    QUERY_DATA_VERSION,
    REGISTER_BROKER,
    UNREGISTER_BROKER,
    BrokerHeader,
    BrokerHeartbeatHeader,
    QueryDataVersionReply,
    RegisterBrokerHeader,
    RegisterBrokerReply,
)
from protocol.names import ORDER_TOPIC_NAMESPACE
from protocol.request import handles
from rmq_server.core.errors import Reject
from rmq_server.namesrv.kvconfig import KVConfig
from rmq_server.namesrv.routes import DEFAULT_TIMEOUT_MS, BrokerKey, Registration, RouteInfoManager
from rmq_server.net.peer import Reply
from rmq_server.net.router import Request

_CRC_MASK = 0x7FFFFFFF


class RegistrationProcessor:
    """What brokers say of themselves.

    order_config: what a registration is answered with; None when it is answered with nothing.
    """

    def __init__(self, routes: RouteInfoManager, order_config: KVConfig | None) -> None:
        self._routes = routes
        self._order_config = order_config

    @handles(REGISTER_BROKER)
    def register(self, request: Request[RegisterBrokerHeader]) -> Reply:
        header = request.header
        _check_address(header.broker_addr)
        if header.body_crc32 and crc32(request.body) & _CRC_MASK != header.body_crc32:
            raise Reject(ResponseCode.SYSTEM_ERROR, "crc32 not match")
        request.peer.call_on_close(self._routes.channel_closed)
        master = self._routes.register(
            Registration(
                key=BrokerKey(header.cluster_name, header.broker_addr),
                broker_name=header.broker_name,
                broker_id=header.broker_id,
                channel=request.peer,
                topics=_topics(request),
                ha_address=header.ha_server_addr,
                timeout_ms=header.heartbeat_timeout_millis or DEFAULT_TIMEOUT_MS,
                acting_master=header.enable_acting_master,
            )
        )
        if master is None:
            raise Reject(ResponseCode.SYSTEM_ERROR, "register broker failed")
        return Reply(
            header=RegisterBrokerReply(ha_server_addr=master.ha_address, master_addr=master.address),
            body=self._order_table(),
        )

    @handles(UNREGISTER_BROKER)
    def unregister(self, request: Request[BrokerHeader]) -> Reply:
        self._routes.unregister(_key(request.header), request.header.broker_name)
        return Reply()

    @handles(QUERY_DATA_VERSION)
    def query_data_version(self, request: Request[BrokerHeader]) -> Reply:
        key = _key(request.header)
        self._routes.touch(key)
        known = self._routes.data_version(key)
        return Reply(
            header=QueryDataVersionReply(changed=known != decode_body(DataVersion, request.body)),
            body=encode_body(known) if known else b"",
        )

    @handles(BROKER_HEARTBEAT)
    def heartbeat(self, request: Request[BrokerHeartbeatHeader]) -> Reply:
        self._routes.touch(BrokerKey(request.header.cluster_name, request.header.broker_addr))
        return Reply()

    def _order_table(self) -> bytes:
        table = self._order_config.namespace(ORDER_TOPIC_NAMESPACE) if self._order_config else None
        return encode_body(KVTable(table=dict(table))) if table else b""


def _topics(request: Request[RegisterBrokerHeader]) -> TopicConfigTable:
    version = request.command.version
    if version >= VERSION_REGISTER_BROKER_BODY:
        return decode_register_body(request.body, compressed=request.header.compressed, version=version).topics
    return decode_body(TopicConfigTable, request.body)


def _key(header: BrokerHeader) -> BrokerKey:
    return BrokerKey(header.cluster_name, header.broker_addr)


def _check_address(address: str) -> None:
    """Clients in Go split the route's text at commas."""
    try:
        parse_address(address)
    except InvalidAddress as error:
        raise Reject(ResponseCode.SYSTEM_ERROR, f"register broker failed: {error}") from None
    if "," in address or " " in address:
        raise Reject(ResponseCode.SYSTEM_ERROR, f"register broker failed: {address!r} is not one address")

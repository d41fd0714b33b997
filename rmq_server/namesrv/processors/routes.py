"""What clients and tools ask about topics and brokers."""

from msgspec.structs import replace

from protocol.bodies.codec import encode_body
from protocol.bodies.route import TopicList
from protocol.codes import ResponseCode
from protocol.header import NoHeader
from protocol.headers.namesrv import (
    GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
    GET_BROKER_CLUSTER_INFO,
    GET_ROUTEINFO_BY_TOPIC,
    GET_TOPICS_BY_CLUSTER,
    ClusterHeader,
    RouteInfoHeader,
)
from protocol.names import ORDER_TOPIC_NAMESPACE
from protocol.request import handles
from rmq_server.core.errors import Reject
from rmq_server.namesrv.config import NamesrvConfig
from rmq_server.namesrv.kvconfig import KVConfig
from rmq_server.namesrv.routes import RouteInfoManager
from rmq_server.net.peer import Reply
from rmq_server.net.router import Request

_NO_ROUTE = (
    "No topic route info in name server for the topic: {}\n"
    "See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
)


class RouteProcessor:
    """Routes, cluster and topic lists."""

    def __init__(self, routes: RouteInfoManager, kv: KVConfig, config: NamesrvConfig) -> None:
        self._routes = routes
        self._kv = kv
        self._config = config

    @handles(GET_ROUTEINFO_BY_TOPIC)
    def route(self, request: Request[RouteInfoHeader]) -> Reply:
        """Differs: map keys are quoted for everyone; every client reads that."""
        topic = request.header.topic
        body = self._ordered_route(topic) if self._config.order_message_enable else None
        if body is None:
            body = self._routes.encoded_route(topic)
        if body is None:
            raise Reject(ResponseCode.TOPIC_NOT_EXIST, _NO_ROUTE.format(topic))
        return Reply(body=body)

    @handles(GET_BROKER_CLUSTER_INFO)
    def cluster_info(self, request: Request[NoHeader]) -> Reply:
        return Reply(body=encode_body(self._routes.cluster_info()))

    @handles(GET_ALL_TOPIC_LIST_FROM_NAMESERVER)
    def all_topics(self, request: Request[NoHeader]) -> Reply:
        if not self._config.enable_all_topic_list:
            raise Reject(ResponseCode.SYSTEM_ERROR, "disable")
        return Reply(body=encode_body(TopicList(topic_list=self._routes.topics())))

    @handles(GET_TOPICS_BY_CLUSTER)
    def topics_of_cluster(self, request: Request[ClusterHeader]) -> Reply:
        if not self._config.enable_topic_list:
            raise Reject(ResponseCode.SYSTEM_ERROR, "disable")
        return Reply(body=encode_body(TopicList(topic_list=self._routes.topics_of_cluster(request.header.cluster))))

    def _ordered_route(self, topic: str) -> bytes | None:
        """The route with its order configuration; None when either is missing."""
        order = self._kv.get(ORDER_TOPIC_NAMESPACE, topic)
        route = self._routes.route(topic) if order else None
        return encode_body(replace(route, order_topic_conf=order)) if route else None

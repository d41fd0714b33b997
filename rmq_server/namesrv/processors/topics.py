"""What tools change in the routes: topics and write permissions."""

from protocol.bodies.codec import decode_body
from protocol.bodies.route import TopicRouteData
from protocol.headers.namesrv import (
    ADD_WRITE_PERM_OF_BROKER,
    DELETE_TOPIC_IN_NAMESRV,
    REGISTER_TOPIC_IN_NAMESRV,
    WIPE_WRITE_PERM_OF_BROKER,
    AddWritePermReply,
    BrokerNameHeader,
    DeleteTopicInNamesrvHeader,
    RegisterTopicHeader,
    WipeWritePermReply,
)
from protocol.request import handles
from rmq_server.core.log import get_logger
from rmq_server.namesrv.routes import RouteInfoManager
from rmq_server.net.peer import Reply
from rmq_server.net.router import Request

_log = get_logger("namesrv.topics")


class TopicProcessor:
    """Changes that last until a broker registers something else."""

    def __init__(self, routes: RouteInfoManager) -> None:
        self._routes = routes

    @handles(WIPE_WRITE_PERM_OF_BROKER)
    def wipe_write_perm(self, request: Request[BrokerNameHeader]) -> Reply:
        count = self._routes.wipe_write_perm(request.header.broker_name)
        _log.info("write permission wiped", broker=request.header.broker_name, topics=count, by=request.peer.address)
        return Reply(header=WipeWritePermReply(wipe_topic_count=count))

    @handles(ADD_WRITE_PERM_OF_BROKER)
    def add_write_perm(self, request: Request[BrokerNameHeader]) -> Reply:
        count = self._routes.add_write_perm(request.header.broker_name)
        _log.info("write permission added", broker=request.header.broker_name, topics=count, by=request.peer.address)
        return Reply(header=AddWritePermReply(add_topic_count=count))

    @handles(DELETE_TOPIC_IN_NAMESRV)
    def delete(self, request: Request[DeleteTopicInNamesrvHeader]) -> Reply:
        header = request.header
        self._routes.delete_topic(header.topic, header.cluster_name or None)
        _log.info("topic removed from routes", topic=header.topic, cluster=header.cluster_name, by=request.peer.address)
        return Reply()

    @handles(REGISTER_TOPIC_IN_NAMESRV)
    def register(self, request: Request[RegisterTopicHeader]) -> Reply:
        self._routes.add_topic(request.header.topic, decode_body(TopicRouteData, request.body).queue_datas)
        return Reply()

"""What a producer, consumer or admin client stands on: connections, routes and heartbeats under one client id.

Each client object has an instance of its own. Upstream shares one among all objects with equal client id, to save
connections; here the life of every task and socket is the `async with` of one object.
Source: apache/rocketmq: client/.../impl/factory/MQClientInstance.java; behaviour.md 1.5, 3.3
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any, Self

from protocol.bodies.codec import decode_body, encode_body
from protocol.bodies.heartbeat import HeartbeatData
from protocol.bodies.route import MASTER_ID, TopicRouteData
from protocol.codes import RequestCode, ResponseCode
from protocol.command import RemotingCommand, request_command, response_command
from protocol.errors import RocketMQError
from protocol.header import to_ext
from protocol.headers.client import HEART_BEAT
from protocol.headers.namesrv import RouteInfoHeader
from protocol.request import ReplyHeader, RequestHeader, RequestSpec
from rmq_client.background import Background
from rmq_client.backoff import Backoff, BackoffPolicy
from rmq_client.config import ClientConfig
from rmq_client.connections import Connections, NameServers
from rmq_client.errors import ConnectionLost, NoRoute, NotRunning, RequestTimeout, broker_error
from rmq_client.identity import new_client_id
from rmq_client.log import logger
from rmq_client.pulse import Pulse
from rmq_client.routes import RouteTable, TopicRoute, template_for
from rmq_client.transport import Link

_log = logger("instance")

RequestHandler = Callable[[Link, RemotingCommand], None]

TROUBLE = BackoffPolicy(max_s=5.0)
"""How often routes are asked for while a broker is lost or a route is missing."""
SHORTEST_LOOK_S = 0.1
"""Many sends that fail at once do not make many rounds of questions."""


class ClientInstance:
    """Connections, routes and heartbeats of one client object; enter it before use.

    heartbeat:    makes the heartbeat, or None when this client has no group to announce.
    consumes:     also slaves are told about this client.
    handle:       handlers of what brokers ask, by request code.
    on_connected: called after a broker connection was made anew.
    on_route:     called with a topic whose route changed.
    """

    def __init__(
        self,
        config: ClientConfig,
        heartbeat: Callable[[str], HeartbeatData] | None = None,
        *,
        consumes: bool = False,
        handle: dict[int, RequestHandler] | None = None,
        on_connected: Callable[[], None] = lambda: None,
        on_route: Callable[[str], None] = lambda topic: None,
    ) -> None:
        self.config = config
        self.client_id = new_client_id()
        self.routes = RouteTable()
        self.background = Background()
        self.changed = Pulse()
        """Fires when a connection was made or a route changed: whoever waits for a broker should look again."""
        self.connections = Connections(config, self.background, self._on_request, self._on_open, self._on_lost)
        self.nameservers = NameServers(config.nameservers, self.connections)
        self.topics: set[str] = set()
        """The topics whose routes are kept fresh."""
        self._heartbeat = heartbeat
        self._consumes = consumes
        self._handlers = handle or {}
        self._on_connected = on_connected
        self._on_route = on_route
        self._stack = AsyncExitStack()
        self._refreshing: dict[str, asyncio.Future[TopicRoute | None]] = {}
        self._look_now = asyncio.Event()
        self._trouble = Backoff(TROUBLE)
        self._lost: set[str] = set()
        self._pause_s = min(SHORTEST_LOOK_S, config.route_refresh_s)
        self._running = False
        self._entered = False

    # Life

    async def __aenter__(self) -> Self:
        if self._entered:
            raise NotRunning("a client object can be entered once: make a new one")
        self._entered = self._running = True
        await self._stack.__aenter__()
        await self._stack.enter_async_context(self.background)
        self._stack.callback(self.connections.close)
        self.background.start(self._keep_routes(), "routes")
        self.background.start(self._keep_alive(), "heartbeats")
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self._running = False
        await self._stack.__aexit__(*exc_info)

    def check_running(self) -> None:
        """Raise NotRunning unless entered and not yet left."""
        if not self._running:
            raise NotRunning("use this object inside `async with`")

    # Requests

    async def call(
        self,
        link: Link,
        spec: RequestSpec[RequestHeader, ReplyHeader],
        header: RequestHeader,
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> tuple[ReplyHeader, bytes]:
        """One request with a typed header; the typed answer and its body.

        Raises: BrokerError, RequestTimeout, ConnectionLost; ProtocolError for an answer that does not read.
        """
        command = request_command(spec.code, to_ext(header), body)
        response = await link.request(command, self.config.request_timeout_s if timeout is None else timeout)
        if response.code != ResponseCode.SUCCESS:
            raise broker_error(response.code, response.remark, link.address)
        return response.read_header(spec.reply), response.body

    async def ask_nameserver(
        self, spec: RequestSpec[RequestHeader, ReplyHeader], header: RequestHeader, *, timeout: float | None = None
    ) -> tuple[ReplyHeader, bytes]:
        """As `call`, of whichever nameserver answers."""
        response, address = await self.nameservers.request(
            lambda: request_command(spec.code, to_ext(header)),
            self.config.request_timeout_s if timeout is None else timeout,
        )
        if response.code != ResponseCode.SUCCESS:
            raise broker_error(response.code, response.remark, address)
        return response.read_header(spec.reply), response.body

    async def broker_link(self, broker_name: str, broker_id: int = MASTER_ID, *, patient: bool = False) -> Link:
        """The connection to a broker that knows who we are.

        patient: fail at once while the wait after an earlier failure lasts.
        Raises:  ConnectFailed; NoRoute when no address is known.
        """
        address = self.routes.replica(broker_name, broker_id)
        if address is None:
            raise NoRoute(f"no address of the broker {broker_name} is known")
        return self.connections.opened(address) or await self.connections.get(address, self._greet, patient=patient)

    async def address_link(self, address: str) -> Link:
        """The connection to a broker by its address.

        Raises: ConnectFailed.
        """
        return self.connections.opened(address) or await self.connections.get(address, self._greet)

    # Routes

    async def route(self, topic: str) -> TopicRoute | None:
        """The route of a topic, asked for when it is not known yet; None when no nameserver knows the topic.

        Raises: RequestTimeout or ConnectionLost when no nameserver answers.
        """
        return self.routes.get(topic) or await self.refresh(topic)

    async def refresh(self, topic: str) -> TopicRoute | None:
        """Ask for the route of a topic now; many who ask at once share one request.

        Raises: as `route`; the route that is known stays.
        """
        future = self._refreshing.get(topic)
        if future is None:
            future = self._refreshing[topic] = asyncio.get_running_loop().create_future()
            self.background.start(self._refresh(topic, future), f"route of {topic}")
        return await asyncio.shield(future)

    async def publish_route(self, topic: str, create_topic_key: str, max_queues: int) -> TopicRoute:
        """The route to send by; of an unknown topic the template's, until the broker has created the topic.

        Raises: NoRoute; RequestTimeout or ConnectionLost when no nameserver answers.
        """
        self.topics.add(topic)
        route = await self.route(topic)
        if route is None or not route.write_queues:
            route = await self.refresh(topic) or route
        if route is None and create_topic_key:
            template = await self._fetch_route(create_topic_key)
            if template is not None:
                route = TopicRoute.of(topic, template_for(topic, template, max_queues))
                self._note(route)
        if route is None or not route.write_queues:
            raise NoRoute(f"the topic {topic} is unknown, or none of its queues can be written to")
        return route

    def look_for_brokers(self) -> None:
        """Refresh the routes now, because a broker cannot be reached or refuses."""
        self._look_now.set()

    # Heartbeats

    async def heartbeat_all(self) -> None:
        """Tell all brokers of all routes who we are; those that cannot be reached are logged."""
        if self._heartbeat is None:
            return
        waiting = []
        for address in self.routes.addresses(masters_only=not self._consumes):
            try:
                link = self.connections.opened(address)
                if link is None:
                    await self.connections.get(address, self._greet, patient=True)  # greeting is a heartbeat
                else:
                    waiting.append((address, link.request(self._heartbeat_command(), self.config.request_timeout_s)))
            except ConnectionLost as problem:
                _log.debug("no heartbeat to %s: %s", address, problem)
        for address, response in waiting:
            await _log_refusal(address, response)

    async def _greet(self, link: Link) -> None:
        """The heartbeat on a new connection comes first: a broker serves pulls only to groups that it knows."""
        if self._heartbeat is not None:
            response = await link.request(self._heartbeat_command(), self.config.request_timeout_s)
            if response.code != ResponseCode.SUCCESS:
                _log.warning("heartbeat refused: %s", broker_error(response.code, response.remark, link.address))

    def _heartbeat_command(self) -> RemotingCommand:
        assert self._heartbeat is not None
        return request_command(HEART_BEAT.code, None, encode_body(self._heartbeat(self.client_id)))

    async def unregister(self, make: Callable[[], RemotingCommand]) -> None:
        """Send a farewell to every connected broker and wait for the answers."""
        brokers = self.routes.addresses(masters_only=False)
        waiting = [
            (link.address, link.request(make(), self.config.request_timeout_s))
            for link in self.connections.open_links()
            if link.address in brokers
        ]
        for address, response in waiting:
            await _log_refusal(address, response)

    # Background

    async def _keep_routes(self) -> None:
        while True:
            troubled = bool(self._lost) or any(self.routes.get(topic) is None for topic in self.topics)
            if not troubled:
                self._trouble.reset()
            interval_s = min(self._trouble.next_s(), self.config.route_refresh_s) if troubled else None
            await _wait(self._look_now, interval_s or self.config.route_refresh_s)
            self._look_now.clear()
            await self._refresh_all(sorted(self.topics))
            self._lost.intersection_update(self.routes.addresses(masters_only=False))
            await asyncio.sleep(self._pause_s)

    async def _refresh_all(self, topics: Iterable[str]) -> None:
        for topic in topics:
            try:
                await self.refresh(topic)
            except RocketMQError as problem:
                _log.warning("the route of %s cannot be refreshed, the known one stays: %s", topic, problem)

    async def _refresh(self, topic: str, future: "asyncio.Future[TopicRoute | None]") -> None:
        try:
            data = await self._fetch_route(topic)
            if data is not None:
                self._note(TopicRoute.of(topic, data))
            future.set_result(self.routes.get(topic) if data is not None else None)
        except RocketMQError as problem:
            future.set_exception(problem)
            future.exception()  # whoever waited may have been cancelled meanwhile
        finally:
            del self._refreshing[topic]
            if not future.done():
                future.set_exception(NotRunning("the client is closing"))
                future.exception()

    async def _fetch_route(self, topic: str) -> TopicRouteData | None:
        header = RouteInfoHeader(topic=topic, accept_standard_json_only=True)
        response, address = await self.nameservers.request(
            lambda: request_command(RequestCode.GET_ROUTEINFO_BY_TOPIC, to_ext(header)), self.config.request_timeout_s
        )
        if response.code == ResponseCode.TOPIC_NOT_EXIST:
            return None
        if response.code != ResponseCode.SUCCESS:
            raise broker_error(response.code, response.remark, address)
        return decode_body(TopicRouteData, response.body)

    def _note(self, route: TopicRoute) -> None:
        before = self.routes.addresses(masters_only=False)
        if not self.routes.put(route):
            return
        for address in self.routes.addresses(masters_only=False) - before:
            self.connections.forgive(address)
        _log.debug("new route of %s: %d queues to write", route.topic, len(route.write_queues))
        self._on_route(route.topic)
        self.changed.fire()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self.config.heartbeat_s)
            await self.heartbeat_all()
            self.connections.tidy(self.routes.addresses(masters_only=False) | set(self.nameservers.addresses))

    # Callbacks of connections

    def _on_open(self, address: str) -> None:
        self._lost.discard(address)
        self.changed.fire()
        if address not in self.nameservers.addresses:
            self._on_connected()

    def _on_lost(self, address: str) -> None:
        if self._running and address not in self.nameservers.addresses:
            self._lost.add(address)
            self._look_now.set()

    def _on_request(self, link: Link, request: RemotingCommand) -> None:
        handler = self._handlers.get(request.code)
        if handler is not None:
            handler(link, request)
        elif not request.is_oneway:
            code = ResponseCode.REQUEST_CODE_NOT_SUPPORTED
            link.respond(response_command(request, code, remark=f"this client does not serve code {request.code}"))


async def _log_refusal(address: str, response: Awaitable[RemotingCommand]) -> None:
    try:
        answer = await response
    except (ConnectionLost, RequestTimeout) as problem:
        _log.warning("no answer from %s: %s", address, problem)
    else:
        if answer.code != ResponseCode.SUCCESS:
            _log.warning("refused: %s", broker_error(answer.code, answer.remark, address))


async def _wait(event: asyncio.Event, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        pass


def now_ms() -> int:
    """The wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000

"""A nameserver and brokers in memory: all that the client talks to, without a socket and under the test's control.

A server's `answer[code]` replaces its behaviour for one request code; `Silence` as an answer means none.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from protocol.address import pack_host
from protocol.batch import decode_batch
from protocol.bodies.codec import decode_body, encode_body
from protocol.bodies.heartbeat import ConsumerList, HeartbeatData
from protocol.bodies.route import BrokerData, ClusterInfo, QueueData, TopicList, TopicRouteData
from protocol.codes import RequestCode, ResponseCode
from protocol.command import RemotingCommand, request_command, response_command
from protocol.connection import Connection
from protocol.flags import PullSysFlag
from protocol.headers.offset import QueryConsumerOffsetHeader, QueueHeader, UpdateConsumerOffsetHeader
from protocol.headers.pull import PullMessageHeader
from protocol.headers.send import SendMessageHeaderV2
from protocol.headers.topic import CreateTopicHeader
from protocol.message_id import offset_message_id
from protocol.record import Record, pack
from rmq_client import ClientConfig

HOST = pack_host("127.0.0.1", 10911)
NAMESRV = "ns:9876"

Answer = Callable[["Session", RemotingCommand], RemotingCommand | None]


def Silence(session: "Session", request: RemotingCommand) -> None:  # noqa: N802 - reads as a value
    """Never answer."""


def refuse(code: int, remark: str = "as told") -> Answer:
    """Answer with an error code."""
    return lambda session, request: response_command(request, code, remark=remark)


class MemoryTransport(asyncio.Transport):
    """One end of an in-memory connection; bytes arrive in the next loop turn."""

    def __init__(self) -> None:
        super().__init__()
        self.peer: MemoryTransport | None = None
        self.protocol: Any = None
        self.closed = False
        self.writes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        if not self.closed:
            asyncio.get_running_loop().call_soon(self._deliver, bytes(data))

    def _deliver(self, data: bytes) -> None:
        if self.peer is not None and not self.peer.closed:
            self.peer.protocol.data_received(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for end in (self, self.peer):
            if end is not None and not end.closed:
                end.closed = True
                loop.call_soon(end.protocol.connection_lost, None)

    abort = close


class Session(asyncio.Protocol):
    """A server's side of one connection."""

    def __init__(self, server: "FakeServer") -> None:
        self.server = server
        self.machine: Connection[asyncio.Future[RemotingCommand]] = Connection(dials=False)
        self.transport: MemoryTransport | None = None
        self.client_id = ""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.sessions.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.sessions.remove(self)
        self.server.on_lost(self)

    def data_received(self, data: bytes) -> None:
        for command in self.machine.receive_data(data):
            if command.is_response:
                continue
            self.server.requests.append(command)
            answer = self.server.answers.get(command.code) or self.server.behaviour(command.code)
            response = answer(self, command)
            if response is not None and not command.is_oneway:
                self.send(response)

    def send(self, response: RemotingCommand) -> None:
        if self.transport is not None and not self.transport.closed:
            self.transport.write(self.machine.encode_response(response))

    def ask(self, command: RemotingCommand) -> None:
        assert self.transport is not None
        self.transport.write(self.machine.encode_request(command, None, 0))


class FakeServer:
    """What nameserver and broker share."""

    def __init__(self, world: "World", address: str) -> None:
        self.world = world
        self.address = address
        self.answers: dict[int, Answer] = {}
        self.requests: list[RemotingCommand] = []
        self.sessions: list[Session] = []
        self.up = True

    def behaviour(self, code: int) -> Answer:
        return getattr(self, f"on_{RequestCode(code).name.lower()}", refuse(ResponseCode.REQUEST_CODE_NOT_SUPPORTED))

    def on_lost(self, session: Session) -> None:
        return

    def count(self, code: int) -> int:
        return sum(request.code == code for request in self.requests)

    def stop(self) -> None:
        """Refuse connections and close those there are."""
        self.up = False
        for session in list(self.sessions):
            assert session.transport is not None
            session.transport.close()

    def start(self) -> None:
        self.up = True


class FakeNameserver(FakeServer):
    def on_get_routeinfo_by_topic(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        route = self.world.route(request.ext["topic"])
        if route is None:
            return response_command(request, ResponseCode.TOPIC_NOT_EXIST, remark="No topic route info")
        return response_command(request, 0, body=encode_body(route))

    def on_get_broker_cluster_info(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        table = {
            name: BrokerData(cluster="C", broker_name=name, broker_addrs={0: broker.address})
            for name, broker in self.world.brokers.items()
        }
        info = ClusterInfo(broker_addr_table=table, cluster_addr_table={"C": list(table)})
        return response_command(request, 0, body=encode_body(info))

    def on_get_all_topic_list_from_nameserver(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        return response_command(request, 0, body=encode_body(TopicList(topic_list=list(self.world.topics))))


class FakeBroker(FakeServer):
    """Stores records, holds pulls, keeps offsets, tells members of changes."""

    def __init__(self, world: "World", name: str, address: str) -> None:
        super().__init__(world, address)
        self.name = name
        self.queues: dict[tuple[str, int], list[bytes]] = {}
        self.first_offset: dict[tuple[str, int], int] = {}
        self.offsets: dict[tuple[str, str, int], int] = {}
        self.held: list[tuple[Session, RemotingCommand, PullMessageHeader]] = []
        self.groups: dict[str, dict[Session, str]] = {}
        self.heartbeats: list[HeartbeatData] = []

    def store(
        self, topic: str, queue_id: int, body: bytes, properties: bytes = b"", *, sys_flag: int = 0, flag: int = 0
    ) -> int:
        """Append one record and answer the pulls that wait for it."""
        queue = self.queues.setdefault((topic, queue_id), [])
        offset = self.first_offset.get((topic, queue_id), 0) + len(queue)
        record = Record(
            topic=topic, queue_id=queue_id, body=body, properties=properties, queue_offset=offset, sys_flag=sys_flag,
            flag=flag, physical_offset=len(queue) * 1000, born_host=HOST, store_host=HOST, store_timestamp_ms=offset,
        )  # fmt: skip
        queue.append(pack(record))
        for entry in [entry for entry in self.held if (entry[2].topic, entry[2].queue_id) == (topic, queue_id)]:
            self.held.remove(entry)
            session, request, header = entry
            session.send(self._pulled(request, header))
        return offset

    def on_heart_beat(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        beat = decode_body(HeartbeatData, request.body)
        self.heartbeats.append(beat)
        session.client_id = beat.client_id
        for consumer in beat.consumer_data_set:
            members = self.groups.setdefault(consumer.group_name, {})
            if session not in members:
                members[session] = beat.client_id
                self.notify(consumer.group_name)
        return response_command(request, 0)

    def on_unregister_client(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        self.on_lost(session)
        return response_command(request, 0)

    def on_lost(self, session: Session) -> None:
        for group, members in self.groups.items():
            if members.pop(session, None):
                self.notify(group)
        self.held = [entry for entry in self.held if entry[0] is not session]

    def notify(self, group: str) -> None:
        for member in list(self.groups.get(group, ())):
            member.ask(request_command(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, {"consumerGroup": group}, oneway=True))

    def on_get_consumer_list_by_group(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        members = self.groups.get(request.ext["consumerGroup"])
        if not members:
            return response_command(request, ResponseCode.SYSTEM_ERROR, remark="no consumer for this group")
        return response_command(request, 0, body=encode_body(ConsumerList(consumer_id_list=list(members.values()))))

    def on_send_message_v2(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        header = request.read_header(SendMessageHeaderV2)
        offset = self.store(header.topic, header.queue_id, request.body, (header.properties or "").encode())
        return self.sent(request, header, [offset])

    def on_send_batch_message(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        header = request.read_header(SendMessageHeaderV2)
        offsets = [
            self.store(header.topic, header.queue_id, item.body, item.properties) for item in decode_batch(request.body)
        ]
        return self.sent(request, header, offsets)

    def sent(self, request: RemotingCommand, header: Any, offsets: list[int], code: int = 0) -> RemotingCommand:
        ids = ",".join(offset_message_id(HOST, offset) for offset in offsets)
        ext = {"msgId": ids, "queueId": str(header.queue_id), "queueOffset": str(offsets[0]), "TRACE_ON": "true"}
        return response_command(request, code, ext)

    def on_pull_message(self, session: Session, request: RemotingCommand) -> RemotingCommand | None:
        header = request.read_header(PullMessageHeader)
        if header.sys_flag & PullSysFlag.COMMIT_OFFSET:
            self.offsets[header.consumer_group, header.topic, header.queue_id] = header.commit_offset
        if header.queue_offset == self._bounds(header)[1] and header.sys_flag & PullSysFlag.SUSPEND:
            self.held.append((session, request, header))
            return None
        return self._pulled(request, header)

    def _bounds(self, header: Any) -> tuple[int, int]:
        key = (header.topic, header.queue_id)
        first = self.first_offset.get(key, 0)
        return first, first + len(self.queues.get(key, ()))

    def _pulled(self, request: RemotingCommand, header: PullMessageHeader) -> RemotingCommand:
        first, end = self._bounds(header)
        offset = header.queue_offset
        if not first <= offset <= end:
            return self.pull_answer(request, ResponseCode.PULL_OFFSET_MOVED, min(max(offset, first), end), first, end)
        found = self.queues.get((header.topic, header.queue_id), [])[offset - first :][: header.max_msg_nums]
        code = ResponseCode.SUCCESS if found else ResponseCode.PULL_NOT_FOUND
        return self.pull_answer(request, code, offset + len(found), first, end, b"".join(found))

    def pull_answer(
        self, request: RemotingCommand, code: int, next_offset: int, first: int, end: int, body: bytes = b""
    ) -> RemotingCommand:
        ext = {
            "suggestWhichBrokerId": "0",
            "nextBeginOffset": str(next_offset),
            "minOffset": str(first),
            "maxOffset": str(end),
        }
        return response_command(request, code, ext, body)

    def on_query_consumer_offset(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        header = request.read_header(QueryConsumerOffsetHeader)
        offset = self.offsets.get((header.consumer_group, header.topic, header.queue_id))
        if offset is None:
            return response_command(request, ResponseCode.QUERY_NOT_FOUND, remark="Not found")
        return response_command(request, 0, {"offset": str(offset)})

    def on_update_consumer_offset(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        header = request.read_header(UpdateConsumerOffsetHeader)
        self.offsets[header.consumer_group, header.topic, header.queue_id] = header.commit_offset
        return response_command(request, 0)

    def on_get_max_offset(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        return response_command(request, 0, {"offset": str(self._bounds(request.read_header(QueueHeader))[1])})

    def on_get_min_offset(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        return response_command(request, 0, {"offset": str(self._bounds(request.read_header(QueueHeader))[0])})

    def on_search_offset_by_timestamp(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        return response_command(request, 0, {"offset": "1"})

    def on_update_and_create_topic(self, session: Session, request: RemotingCommand) -> RemotingCommand:
        header = request.read_header(CreateTopicHeader)
        self.world.add_topic(header.topic, header.write_queue_nums)
        return response_command(request, 0)


class World:
    """One nameserver and some brokers, and the way to dial them."""

    def __init__(self, *broker_names: str, topics: dict[str, int] | None = None) -> None:
        self.nameserver = FakeNameserver(self, NAMESRV)
        self.brokers = {name: FakeBroker(self, name, f"{name}:10911") for name in broker_names or ("broker-a",)}
        self.servers: dict[str, FakeServer] = {NAMESRV: self.nameserver}
        for broker in self.brokers.values():
            self.servers[broker.address] = broker
        self.topics: dict[str, TopicRouteData] = {}
        for topic, queues in (topics or {"T": 4}).items():
            self.add_topic(topic, queues)
        self.dials: list[str] = []
        self.blackholes: set[str] = set()
        self.transports: list[MemoryTransport] = []

    @property
    def broker(self) -> FakeBroker:
        return next(iter(self.brokers.values()))

    def add_topic(self, topic: str, queues: int = 4, brokers: list[str] | None = None) -> None:
        self.topics[topic] = TopicRouteData(
            queue_datas=[
                QueueData(broker_name=name, read_queue_nums=queues, write_queue_nums=queues, perm=6)
                for name in brokers or self.brokers
            ]
        )

    def route(self, topic: str) -> TopicRouteData | None:
        found = self.topics.get(topic)
        if found is None:
            return None
        names = {queue.broker_name for queue in found.queue_datas}
        brokers = [
            BrokerData(cluster="C", broker_name=name, broker_addrs={0: broker.address})
            for name, broker in self.brokers.items()
            if name in names
        ]
        return TopicRouteData(queue_datas=found.queue_datas, broker_datas=brokers)

    def move(self, broker: FakeBroker, address: str) -> None:
        """The broker comes back under another address."""
        del self.servers[broker.address]
        broker.address = address
        self.servers[address] = broker

    async def connect(self, factory: Callable[[], asyncio.Protocol], host: str, port: int) -> None:
        address = f"{host}:{port}"
        self.dials.append(address)
        if address in self.blackholes:
            await asyncio.Event().wait()
        server = self.servers.get(address)
        if server is None or not server.up:
            raise ConnectionRefusedError(111, "Connection refused")
        here, there = MemoryTransport(), MemoryTransport()
        here.peer, there.peer = there, here
        here.protocol, there.protocol = factory(), Session(server)
        self.transports.append(here)
        there.protocol.connection_made(there)
        here.protocol.connection_made(here)

    def client(self, **settings: Any) -> ClientConfig:
        """Settings for a client of this world."""
        return ClientConfig(namesrv=NAMESRV, connector=self.connect, **settings)


async def until(condition: Callable[[], object], turns: int = 10_000) -> None:
    """Let the loop turn until something is so."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not happen")

"""The connections of one load, driven by epoll.

Sockets and epoll instead of asyncio: the generator shares a machine with what it measures and must cost less than it.
A request leaves as soon as an answer of its connection came, so the number under way stands until `stop`.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from bench.load.replies import ReplyReader

_RECEIVE_BYTES = 64 * 1024  # under the size from which malloc maps and unmaps pages for each
_STALL_SECONDS = 15.0

CountMessages = Callable[[int, bytes], int]
"""How many messages a reply stands for, from its opaque and header."""


class StalledError(Exception):
    """A server has not answered for a long time."""


class Link:
    """One connection with its own list of requests."""

    __slots__ = ("count", "frames", "free", "out", "reader", "socket", "under_way")

    def __init__(self, address: tuple[str, int], frames: Sequence[bytes], count: CountMessages | int) -> None:
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.frames = frames
        self.free = deque(range(len(frames)))
        self.count = count
        self.reader = ReplyReader()
        self.out = b""
        self.under_way = 0

    def send_next(self, requests: int) -> bool:
        """Send so many more requests; says whether all bytes left."""
        take = self.free.popleft
        frames = self.frames
        requests = min(requests, len(self.free))
        self.under_way += requests
        self.out += frames[take()] if requests == 1 else b"".join([frames[take()] for _ in range(requests)])
        return self.flush()

    def flush(self) -> bool:
        """Send what is left; says whether nothing is."""
        try:
            sent = self.socket.send(self.out)
        except BlockingIOError:
            return False
        self.out = self.out[sent:] if sent < len(self.out) else b""
        return not self.out

    def receive(self) -> tuple[int, int]:
        """Take in what has arrived: replies and messages.

        Raises: RefusedError; ConnectionResetError when the server closed the connection.
        """
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("the server closed a connection under load")
        count = self.count
        if isinstance(count, int):
            opaques = self.reader.opaques(data)
            messages = len(opaques) * count
        else:
            replies = self.reader.replies(data)
            opaques = [reply.opaque for reply in replies]
            messages = sum([count(opaque, header) for opaque, header in replies])
        self.free.extend(opaques)
        self.under_way -= len(opaques)
        return len(opaques), messages

    def close(self) -> None:
        self.socket.close()


class Links:
    """All connections of one load."""

    def __init__(self, links: Sequence[Link], in_flight: int) -> None:
        self._links = {link.socket.fileno(): link for link in links}
        self._in_flight = in_flight
        self._epoll = select.epoll()
        for number in self._links:
            self._epoll.register(number, select.EPOLLIN)
        self.requests = 0
        self.messages = 0

    def run(self, seconds: float, most_messages: int | None = None) -> None:
        """Load for so long, or until so many messages are acknowledged; return when nothing is under way any more.

        Raises: RefusedError, StalledError, ConnectionError.
        """
        most = self.messages + most_messages if most_messages is not None else float("inf")
        for number, link in self._links.items():
            self._send(number, link, self._in_flight)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.messages < most:
            self._turn(more=True)
        while any(link.under_way for link in self._links.values()):
            self._turn(more=False)

    def close(self) -> None:
        """Close every connection."""
        self._epoll.close()
        for link in self._links.values():
            link.close()

    def _turn(self, *, more: bool) -> None:
        events = self._epoll.poll(_STALL_SECONDS)
        if not events:
            raise StalledError(f"no answer for {_STALL_SECONDS:g} s")
        for number, event in events:
            link = self._links[number]
            if event & select.EPOLLOUT and link.flush():
                self._epoll.modify(number, select.EPOLLIN)
            if event & ~select.EPOLLOUT:
                replies, messages = link.receive()
                self.requests += replies
                self.messages += messages
                if more and replies:
                    self._send(number, link, replies)

    def _send(self, number: int, link: Link, requests: int) -> None:
        if not link.send_next(requests):
            self._epoll.modify(number, select.EPOLLIN | select.EPOLLOUT)

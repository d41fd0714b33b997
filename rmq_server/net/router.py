"""From a request's code to its handler, and from what goes wrong there to a response: here and nowhere else.

A handler is a method marked with `protocol.request.handles`. It returns a Reply; or an awaitable of one, when it must
wait; or None, when it has kept the Request and will call `respond` itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from protocol.codes import ResponseCode
from protocol.command import RemotingCommand
from protocol.errors import HeaderError, InvalidName, RemoteProtocolError
from protocol.request import RequestSpec, handlers_of
from rmq_server.core.errors import Reject
from rmq_server.core.log import get_logger
from rmq_server.net.peer import Peer, Reply

_log = get_logger("net")

GO_AWAY_VERSION = 475
"""Clients newer than this reconnect and send again when told GO_AWAY."""

H = TypeVar("H")


class Request(msgspec.Struct, Generic[H]):
    """One request on its way through a handler."""

    header: H
    command: RemotingCommand
    peer: Peer

    @property
    def body(self) -> bytes:
        return self.command.body

    def respond(self, reply: Reply) -> None:
        """Answer now, for a handler that returned None."""
        self.peer.respond(self.command, reply)


Answer = Reply | Awaitable[Reply | None] | None
Handler = Callable[[Request[Any]], Answer]


class Route(NamedTuple):
    """A handler and what it handles."""

    spec: RequestSpec[Any, Any]
    handler: Handler


class Router:
    """The table of handlers.

    Raises: ValueError when two processors handle one code.
    """

    def __init__(self, processors: Iterable[object]) -> None:
        self._routes: dict[int, Route] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._draining = False
        for processor in processors:
            for spec, handler in handlers_of(processor).items():
                if spec.code in self._routes:
                    raise ValueError(f"{spec.code.name} is handled twice")
                self._routes[spec.code.value] = Route(spec, handler)

    @property
    def codes(self) -> list[int]:
        """The codes that have a handler, ascending."""
        return sorted(self._routes)

    def use_tasks(self, tasks: asyncio.TaskGroup) -> None:
        """Handlers that must wait run in this group."""
        self._tasks = tasks

    def start_draining(self) -> None:
        """From now on, new requests are told to go away."""
        self._draining = True

    def dispatch(self, peer: Peer, command: RemotingCommand) -> None:
        """Let a request be handled and answered."""
        peer.version = command.version
        peer.language = command.language
        route = self._routes.get(command.code)
        if route is None or self._draining:
            self._turn_away(peer, command)
            return
        try:
            answer = route.handler(Request(command.read_header(route.spec.header), command, peer))
        except Exception as error:
            peer.respond(command, _reply_of(error, peer, route.spec))
            return
        if answer.__class__ is Reply:
            peer.respond(command, answer)
        elif answer is not None:
            assert self._tasks is not None
            self._tasks.create_task(self._answer_later(peer, command, route.spec, answer))  # type: ignore[arg-type]

    async def _answer_later(
        self, peer: Peer, command: RemotingCommand, spec: RequestSpec[Any, Any], answer: Awaitable[Reply | None]
    ) -> None:
        try:
            reply = await answer
        except Exception as error:
            reply = _reply_of(error, peer, spec)
        if reply is not None:
            peer.respond(command, reply)

    def _turn_away(self, peer: Peer, command: RemotingCommand) -> None:
        if not self._draining:
            reply = Reply(ResponseCode.REQUEST_CODE_NOT_SUPPORTED, remark=f" request type {command.code} not supported")
            peer.respond(command, reply)
        elif command.version > GO_AWAY_VERSION:
            peer.respond(command, Reply(ResponseCode.GO_AWAY, remark="the server is shutting down"))
        else:
            peer.close()


def _reply_of(error: Exception, peer: Peer, spec: RequestSpec[Any, Any]) -> Reply:
    if isinstance(error, Reject):
        return Reply(error.code, remark=error.remark, ext=dict(error.ext) if error.ext else None)
    if isinstance(error, InvalidName):
        return Reply(ResponseCode.INVALID_PARAMETER, remark=str(error))
    if isinstance(error, HeaderError | RemoteProtocolError):
        return Reply(ResponseCode.SYSTEM_ERROR, remark=f"{spec.label}: {error}")
    _log.error("request failed", request=spec.label, peer=peer.address, exc_info=error)
    return Reply(ResponseCode.SYSTEM_ERROR, remark=f"{spec.label}: {type(error).__name__}: {error}")

"""One remoting connection without its socket: bytes in, commands out, and the table of requests under way.

Both sides send requests; each side numbers its own (`opaque`), so a response is matched by its direction and number.
MSGPACK is negotiated: the dialling side offers `accSer` with its first request, and switches once the answer echoes it.

Invariants: a waiter is handed out exactly once, by its response, by `expire`, or by `abandon`.
Source: apache/rocketmq: remoting/.../netty/NettyRemotingAbstract.java; remoting.md 1.5, 1.6
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from protocol.command import RemotingCommand, SerializeType, decode_command, encode_command, encode_head
from protocol.errors import HeaderError
from protocol.frame import DEFAULT_MAX_FRAME_BYTES, FrameDecoder

ACCEPTED_CODECS = "accSer"
OUR_CODECS = "0,1,2"

_MAX_OPAQUE = 0x7FFFFFFF

W = TypeVar("W")


class Connection(Generic[W]):
    """The state of one connection; W is whatever the caller lets wait for a response.

    dials:  this side opened the connection, and so may offer MSGPACK.
    native: whether to negotiate MSGPACK at all.
    Units:  deadlines are in the unit and origin of the clock that the caller uses.
    """

    def __init__(self, *, dials: bool, native: bool = True, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> None:
        self._frames = FrameDecoder(max_frame_bytes)
        self._max_frame_bytes = max_frame_bytes
        self._codec: int = SerializeType.JSON
        self._offer_pending = dials and native
        self._offer_opaque: int | None = None
        self._accepts_offer = native and not dials
        self._echo_opaque: int | None = None
        self._dials = dials
        self._next_opaque = 0
        self._waiting: dict[int, tuple[float, W]] = {}

    @property
    def codec(self) -> int:
        """The SerializeType in which requests leave now."""
        return self._codec

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an unfinished frame."""
        return self._frames.buffered_bytes

    @property
    def owes_echo(self) -> bool:
        """Whether a response must still answer the peer's offer of MSGPACK: only `encode_response` does that."""
        return self._echo_opaque is not None

    @property
    def in_flight(self) -> int:
        """Requests of ours that wait for a response."""
        return len(self._waiting)

    def receive_data(self, data: bytes) -> Iterator[RemotingCommand]:
        """Yield the commands that `data` completes; run it to its end before the next call.

        Raises: RemoteProtocolError, after which the connection is unusable.
        """
        for frame in self._frames.receive_data(data):
            command = decode_command(frame)
            if not command.flag & 1:
                if not self._dials:
                    self._codec = command.serialize_type
                    if self._accepts_offer:
                        self._note_offer(command)
                elif self._codec != SerializeType.MSGPACK:
                    self._codec = command.serialize_type
            yield command

    def encode_request(self, command: RemotingCommand, waiter: W | None, deadline: float) -> bytes:
        """Number a request and encode it; `waiter` comes back with the response, None for a one-way request.

        Raises: LocalProtocolError.
        """
        opaque = self._next_opaque
        while opaque in self._waiting:
            opaque = (opaque + 1) & _MAX_OPAQUE
        command.opaque = opaque
        command.serialize_type = self._codec
        offers = self._offer_pending and waiter is not None
        if offers:
            command.ext_fields = {**command.ext, ACCEPTED_CODECS: OUR_CODECS}
        data = encode_command(command, self._max_frame_bytes)
        self._next_opaque = (opaque + 1) & _MAX_OPAQUE
        if offers:
            self._offer_pending = False
            self._offer_opaque = opaque
        if waiter is not None:
            self._waiting[opaque] = (deadline, waiter)
        return data

    def encode_response(self, command: RemotingCommand) -> bytes:
        """Encode a response.

        Raises: LocalProtocolError.
        """
        self._echo_offer(command)
        return encode_command(command, self._max_frame_bytes)

    def encode_response_head(self, command: RemotingCommand, body_bytes: int) -> bytes:
        """Encode a response whose body follows in pieces.

        Raises: LocalProtocolError.
        """
        self._echo_offer(command)
        return encode_head(command, body_bytes, self._max_frame_bytes)

    def take_waiter(self, response: RemotingCommand) -> W | None:
        """The waiter of a response; None when nobody waits any more."""
        opaque = response.opaque
        if opaque == self._offer_opaque:
            self._offer_opaque = None
            self._accept_answer(response)
        entry = self._waiting.pop(opaque, None)
        return None if entry is None else entry[1]

    def forget(self, waiter: W) -> None:
        """Drop a waiter whose owner gave up."""
        for opaque, (_, waiting) in self._waiting.items():
            if waiting is waiter:
                del self._waiting[opaque]
                return

    def expire(self, now: float) -> list[W]:
        """Take out the waiters whose deadline has passed."""
        late = [opaque for opaque, (deadline, _) in self._waiting.items() if deadline <= now]
        return [self._waiting.pop(opaque)[1] for opaque in late]

    def abandon(self) -> list[W]:
        """Take out all waiters, when the connection is lost."""
        waiters = [waiter for _, waiter in self._waiting.values()]
        self._waiting.clear()
        return waiters

    def _note_offer(self, command: RemotingCommand) -> None:
        """Only the first request that awaits an answer can offer."""
        if command.is_oneway:
            return
        self._accepts_offer = False
        ext = command.ext_fields
        if isinstance(ext, msgspec.Raw) and b'"accSer"' not in bytes(ext):
            return
        try:
            offer = str(command.ext.get(ACCEPTED_CODECS, ""))
        except HeaderError:
            return  # the handler of the request answers this
        if str(int(SerializeType.MSGPACK)) in offer.split(","):
            self._echo_opaque = command.opaque

    def _echo_offer(self, command: RemotingCommand) -> None:
        if self._echo_opaque is not None and command.opaque == self._echo_opaque:
            self._echo_opaque = None
            command.ext_fields = {**command.ext, ACCEPTED_CODECS: OUR_CODECS}

    def _accept_answer(self, response: RemotingCommand) -> None:
        try:
            answer = str(response.ext.get(ACCEPTED_CODECS, ""))
        except HeaderError:
            return  # whoever waits reads the header too, and gets this error
        if str(int(SerializeType.MSGPACK)) in answer.split(","):
            self._codec = SerializeType.MSGPACK

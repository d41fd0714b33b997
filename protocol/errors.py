"""The error root, and whose fault a protocol error is.

Source: names of our own; upstream spreads these over RemotingException, MQClientException and MQBrokerException.
"""


class RocketMQError(Exception):
    """Root of every error that this distribution raises on purpose."""


class ProtocolError(RocketMQError):
    """Bytes or values that the protocol does not allow."""


class LocalProtocolError(ProtocolError):
    """We were about to send something illegal: a bug or bad input on this side."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something illegal."""


class HeaderError(RemoteProtocolError):
    """A frame is whole and its envelope reads, but a header field is missing or does not parse.

    The request can be answered, because its opaque is known; `field` names the wire field at fault.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class InvalidName(ProtocolError, ValueError):
    """A topic or group name is empty, too long, or has an illegal character."""

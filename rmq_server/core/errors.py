"""What server parts raise: a refusal that becomes a response, and a start that cannot go on."""

from collections.abc import Mapping

from protocol.codes import ResponseCode
from protocol.errors import RocketMQError


class Reject(RocketMQError):
    """A request is refused: the router answers with this code, remark and header fields."""

    def __init__(self, code: ResponseCode, remark: str, ext: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code.name}: {remark}")
        self.code = code
        self.remark = remark
        self.ext = ext


class StartupError(RocketMQError):
    """A server cannot start; the text tells a user what to change."""

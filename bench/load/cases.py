"""The loads, as data."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from protocol.command import SerializeType


class Kind(StrEnum):
    """What a request of a load is."""

    SEND = "send"
    BATCH = "batch"
    PULL = "pull"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One load: so many connections, each with so many requests under way.

    codec:            of the request headers; a server may answer in another one.
    messages:         per request; of a pull, the most that it asks for.
    frames_per_link:  different requests that a connection cycles through, so that no message repeats soon.
    """

    name: str
    kind: Kind = Kind.SEND
    codec: int = SerializeType.JSON
    connections: int = 8
    in_flight: int = 32
    messages: int = 1
    body_bytes: int = 1024
    frames_per_link: int = 1024

    def plain(self) -> dict[str, Any]:
        """The case as JSON values; `case_of` reads them."""
        return asdict(self)


def case_of(plain: dict[str, Any]) -> Case:
    """What `plain` wrote."""
    return Case(**{**plain, "kind": Kind(plain["kind"])})


SEND_JSON = Case(name="send 1 KiB JSON 8x32")
SEND_BINARY = Case(name="send 1 KiB binary 8x32", codec=SerializeType.ROCKETMQ)
SEND_ALONE = Case(name="send 1 KiB JSON 64x1", connections=64, in_flight=1, frames_per_link=128)
BATCH = Case(name="batch 32 x 1 KiB, 8x4", kind=Kind.BATCH, in_flight=4, messages=32, frames_per_link=32)
PULL = Case(name="pull 32 x 1 KiB, 8x4", kind=Kind.PULL, in_flight=4, messages=32)

SENDS = (SEND_JSON, SEND_BINARY, SEND_ALONE, BATCH)
CASES = (*SENDS, PULL)

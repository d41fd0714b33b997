"""One raw remoting request: enough to ask a server whether it is ready, without any client library.

Frame: total length, header length with the codec in its top byte (0 is JSON), header, body; integers are big-endian.
"""

import json
import socket
from collections.abc import Mapping
from typing import NamedTuple

GET_MAX_OFFSET = 30
UPDATE_AND_CREATE_TOPIC = 17
GET_ROUTE_BY_TOPIC = 105

_VERSION = 399  # any 4.x or 5.x number: servers only look whether it is very old


class Answer(NamedTuple):
    """A response: code 0 is success; the body is left as bytes, since Apache's JSON is not always JSON."""

    code: int
    remark: str
    fields: dict[str, str]
    body: bytes


def request(address: str, code: int, fields: Mapping[str, str | int] | None = None, *, seconds: float = 5) -> Answer:
    """Connect to "host:port", ask once, and return the answer.

    Raises: OSError (also TimeoutError) when nobody listens, answers in time, or stays connected until the answer.
    """
    host, _, port = address.rpartition(":")
    header = json.dumps(
        {
            "code": code,
            "language": "JAVA",
            "version": _VERSION,
            "opaque": 1,
            "flag": 0,
            "serializeTypeCurrentRPC": "JSON",
            "extFields": {name: str(value) for name, value in (fields or {}).items()},
        }
    ).encode()
    with socket.create_connection((host, int(port)), timeout=seconds) as link:
        link.sendall((4 + len(header)).to_bytes(4, "big") + len(header).to_bytes(4, "big") + header)
        frame = _receive(link, int.from_bytes(_receive(link, 4), "big"))
    header_length = int.from_bytes(frame[1:4], "big")
    answer = json.loads(frame[4 : 4 + header_length])
    return Answer(answer["code"], answer.get("remark") or "", answer.get("extFields") or {}, frame[4 + header_length :])


def has_route(namesrv: str, topic: str) -> bool:
    """Whether the nameserver knows a broker for `topic`; False also while the nameserver itself does not answer."""
    try:
        return request(namesrv, GET_ROUTE_BY_TOPIC, {"topic": topic}).code == 0
    except OSError:
        return False


def _receive(link: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = link.recv(size - len(received))
        if not part:
            raise ConnectionResetError("closed before the whole answer came")
        received += part
    return received

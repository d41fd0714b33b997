"""The registry of requests: what each code carries and what its success answers.

From one RequestSpec follow typed decoding at the server, the client's typed call, the metrics label, the row of the
docs table and the round-trip property test.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar, overload

from protocol.codes import RequestCode
from protocol.header import Header, NoHeader

RequestHeader = TypeVar("RequestHeader", bound=Header)
ReplyHeader = TypeVar("ReplyHeader", bound=Header)


@dataclass(frozen=True, slots=True)
class RequestSpec(Generic[RequestHeader, ReplyHeader]):
    """One request code.

    body, reply_body: what the bodies are, in words; empty where there is none.
    """

    code: RequestCode
    header: type[RequestHeader]
    reply: type[ReplyHeader]
    body: str = ""
    reply_body: str = ""

    @property
    def label(self) -> str:
        """The name in metrics and logs."""
        return self.code.name.lower()


_specs: dict[int, RequestSpec[Any, Any]] = {}

REQUESTS: Mapping[int, RequestSpec[Any, Any]] = MappingProxyType(_specs)
"""Every specified request by its code; complete once `protocol.headers` is imported."""


@overload
def request_spec(
    code: RequestCode, header: type[RequestHeader], *, body: str = "", reply_body: str = ""
) -> RequestSpec[RequestHeader, NoHeader]: ...


@overload
def request_spec(
    code: RequestCode,
    header: type[RequestHeader],
    reply: type[ReplyHeader],
    *,
    body: str = "",
    reply_body: str = "",
) -> RequestSpec[RequestHeader, ReplyHeader]: ...


def request_spec(
    code: RequestCode, header: type[Header], reply: type[Header] = NoHeader, *, body: str = "", reply_body: str = ""
) -> RequestSpec[Any, Any]:
    """Register one request code.

    Raises: ValueError when the code has a spec already.
    """
    if code in _specs:
        raise ValueError(f"{code.name} is specified twice")
    spec: RequestSpec[Any, Any] = RequestSpec(code, header, reply, body, reply_body)
    _specs[code] = spec
    return spec


Marked = TypeVar("Marked", bound=Callable[..., Any])

_MARK = "_handled_specs"


def handles(*specs: RequestSpec[Any, Any]) -> Callable[[Marked], Marked]:
    """Mark a method as the handler of requests; a router collects the marked methods of an object."""

    def mark(method: Marked) -> Marked:
        setattr(method, _MARK, specs)
        return method

    return mark


def handlers_of(processor: object) -> dict[RequestSpec[Any, Any], Callable[..., Any]]:
    """The marked methods of a processor by their specs."""
    found = {}
    for name in dir(type(processor)):
        for spec in getattr(getattr(type(processor), name), _MARK, ()):
            found[spec] = getattr(processor, name)
    return found

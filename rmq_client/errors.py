"""What can go wrong, by whose fault: the caller's, the network's, or the broker's answer.

Every class says whether the same request may succeed elsewhere or later (`retriable`) and whether the client's idea of
the route is likely stale (`refresh_route`). Broker answers become the subclass of BrokerError that their code names.
Source: apache/rocketmq: client/.../exception/, common/.../impl/producer/DefaultMQProducerImpl.java (retryResponseCodes)
"""

from typing import ClassVar

from protocol.codes import ResponseCode
from protocol.errors import RocketMQError


class ClientError(RocketMQError):
    """The request did not reach its end; no broker refused it."""

    retriable: ClassVar[bool] = False
    refresh_route: ClassVar[bool] = False


class Misuse(ClientError, ValueError):
    """The call itself is wrong: an illegal argument or combination."""


class NotRunning(ClientError, RuntimeError):
    """The object is used before `async with` entered it or after it was closed."""


class RequestTimeout(ClientError, TimeoutError):
    """No answer within the time-out. Whether the request was carried out is unknown."""

    retriable = True


class ConnectionLost(ClientError, ConnectionError):
    """The connection broke before the answer came. Whether the request was carried out is unknown."""

    retriable = True
    refresh_route = True


class ConnectFailed(ConnectionLost):
    """No connection could be made, so nothing was sent."""


class NoRoute(ClientError, LookupError):
    """No nameserver knows where the topic lives, or none of its queues can be used."""

    refresh_route = True


class BrokerError(RocketMQError):
    """A broker or nameserver answered with an error.

    code:        the number on the wire; `ResponseCode(code)` names it when it is a known one.
    remark:      the server's own words.
    broker_addr: who answered, as dialled.
    """

    retriable: ClassVar[bool] = False
    refresh_route: ClassVar[bool] = False
    back_off: ClassVar[bool] = False

    _by_code: ClassVar[dict[int, type["BrokerError"]]] = {}

    def __init_subclass__(cls, *, codes: tuple[ResponseCode, ...] = ()) -> None:
        for code in codes:
            if code in BrokerError._by_code:
                raise TypeError(f"{code!r} belongs to {BrokerError._by_code[code].__name__} already")
            BrokerError._by_code[code] = cls

    def __init__(self, code: int, remark: str | None, broker_addr: str) -> None:
        super().__init__(code, remark, broker_addr)
        self.code = code
        self.remark = remark or ""
        self.broker_addr = broker_addr

    def __str__(self) -> str:
        try:
            name = ResponseCode(self.code).name
        except ValueError:
            name = "unknown code"
        return f"{name} ({self.code}) from {self.broker_addr}: {self.remark or 'no remark'}"


class FlowControl(BrokerError, codes=(ResponseCode.SYSTEM_BUSY, ResponseCode.FLOW_CONTROL)):
    """The broker is overloaded. Sends wait before they try again, if their time-out allows it."""

    retriable = True
    back_off = True
    reply_code = 530
    reply_text = "TOO_MANY_REQUESTS"


class BrokerFailure(BrokerError, codes=(ResponseCode.SYSTEM_ERROR,)):
    """Something broke inside the broker."""

    retriable = True


class ServiceNotAvailable(BrokerError, codes=(ResponseCode.SERVICE_NOT_AVAILABLE, ResponseCode.GO_AWAY)):
    """The broker does not take messages now: shutting down, disk full, or a slave."""

    retriable = True
    refresh_route = True


class NoPermission(BrokerError, codes=(ResponseCode.NO_PERMISSION,)):
    """The broker, topic or group may not be used in this way."""

    retriable = True
    refresh_route = True


class TopicNotExist(BrokerError, codes=(ResponseCode.TOPIC_NOT_EXIST,)):
    """The server that answered does not have the topic."""

    retriable = True
    refresh_route = True


class WrongUnit(BrokerError, codes=(ResponseCode.NO_BUYER_ID, ResponseCode.NOT_IN_CURRENT_UNIT)):
    """The message belongs to another unit of the deployment."""

    retriable = True


class MessageIllegal(BrokerError, codes=(ResponseCode.MESSAGE_ILLEGAL,)):
    """The broker refuses the message itself: too large, or a property that cannot be."""


class InvalidParameter(BrokerError, codes=(ResponseCode.INVALID_PARAMETER,)):
    """A field of the request is not acceptable, for example a queue id out of range."""


class NotSupported(BrokerError, codes=(ResponseCode.REQUEST_CODE_NOT_SUPPORTED, ResponseCode.VERSION_NOT_SUPPORTED)):
    """The server does not know this kind of request."""


class NotFound(BrokerError, codes=(ResponseCode.QUERY_NOT_FOUND,)):
    """What was asked for is not there, for example an offset that was never committed."""


class SubscriptionInvalid(BrokerError, codes=(ResponseCode.SUBSCRIPTION_PARSE_FAILED,)):
    """The filter expression does not parse."""


class SubscriptionStale(
    BrokerError,
    codes=(
        ResponseCode.SUBSCRIPTION_NOT_EXIST,
        ResponseCode.SUBSCRIPTION_NOT_LATEST,
        ResponseCode.FILTER_DATA_NOT_EXIST,
        ResponseCode.FILTER_DATA_NOT_LATEST,
    ),
):
    """The broker has no or an older subscription of this group; the next heartbeat brings it."""

    retriable = True


class GroupNotExist(BrokerError, codes=(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST,)):
    """The consumer group is unknown and the broker does not create groups by itself."""


def broker_error(code: int, remark: str | None, broker_addr: str) -> BrokerError:
    """The error of an answer, in the class that its code names."""
    return BrokerError._by_code.get(code, BrokerError)(code, remark, broker_addr)

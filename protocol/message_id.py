"""Message ids: the broker's, which says where a record is, and the producer's, which says which message it is.

Both are upper-case hex, 32 characters with an IPv4 address and 56 with an IPv6 address.

    offset message id               unique id (property UNIQ_KEY)
    4|16  address of the broker     4|16  address of the producer
    i32   port                      i16   process id
    i64   physical offset           i32   hash of the class loader, or any number that tells two generators apart
                                    i32   milliseconds since the first of the month, 00:00 local time
                                    i16   counter

Source: apache/rocketmq: common/.../message/MessageDecoder.java, MessageClientIDSetter.java, remoting.md 2.6
"""

from collections.abc import Callable
from ipaddress import ip_address
from struct import Struct

from protocol.errors import LocalProtocolError, ProtocolError

_ADDRESS_BYTES = (4, 16)
_OFFSET = Struct(">q")
_PORT_AND_OFFSET = Struct(">iq")
_ID_BYTES = tuple(size + _PORT_AND_OFFSET.size for size in _ADDRESS_BYTES)
_MAX_PORT = 0xFFFF
_MORE_THAN_A_MONTH_MS = 32 * 24 * 60 * 60 * 1000


class InvalidMessageId(ProtocolError, ValueError):
    """A text is not an offset message id."""


def offset_message_id(store_host: bytes, physical_offset: int) -> str:
    """The id of a stored record.

    Shape: store_host as in the record: 4 or 16 bytes of address, then the port as i32.
    """
    return (store_host + _OFFSET.pack(physical_offset)).hex().upper()


def parse_offset_message_id(text: str) -> tuple[str, int, int]:
    """Host, port and physical offset of an offset message id; lower-case digits are accepted.

    Raises: InvalidMessageId for anything else, a producer's unique id included unless it happens to hold a port.
    """
    try:
        raw = bytes.fromhex(text)
    except ValueError as error:
        raise InvalidMessageId(f"message id {_shown(text)} is not hexadecimal") from error
    if len(raw) not in _ID_BYTES or len(text) != 2 * len(raw):
        raise InvalidMessageId(f"message id {_shown(text)} has {len(text)} characters, not 32 or 56 hex digits")
    address_bytes = len(raw) - _PORT_AND_OFFSET.size
    port, physical_offset = _PORT_AND_OFFSET.unpack_from(raw, address_bytes)
    if not 0 <= port <= _MAX_PORT:
        raise InvalidMessageId(f"message id {_shown(text)} names the port {port}")
    if physical_offset < 0:
        raise InvalidMessageId(f"message id {_shown(text)} names the physical offset {physical_offset}")
    return str(ip_address(raw[:address_bytes])), port, physical_offset


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:64] + "…")


class UniqueIdGenerator:
    """Make the unique ids of one process, one after the other.

    address, pid, loader_hash: the fixed part; the low 16 and 32 bits of the numbers are used.
    month_start_ms: the Unix milliseconds at which the local month of a given time began; asked once per month.

    Ids repeat only when 65,536 are made within one millisecond. Not safe to share between threads.
    Differs: upstream asks for a new month only when time goes forwards, this one also when the clock was set back.
    Raises: LocalProtocolError for an address of neither 4 nor 16 bytes.
    """

    __slots__ = ("_counter", "_month_end_ms", "_month_start", "_month_start_ms", "_prefix")

    def __init__(self, address: bytes, pid: int, loader_hash: int, month_start_ms: Callable[[int], int]) -> None:
        if len(address) not in _ADDRESS_BYTES:
            raise LocalProtocolError(f"an address has 4 or 16 bytes, not {len(address)}")
        self._prefix = f"{address.hex().upper()}{pid & 0xFFFF:04X}{loader_hash & 0xFFFF_FFFF:08X}"
        self._month_start = month_start_ms
        self._month_start_ms = self._month_end_ms = 0
        self._counter = 0

    def next_id(self, now_ms: int) -> str:
        """A new id for a message that is made now."""
        if not self._month_start_ms <= now_ms < self._month_end_ms:
            self._enter_month(now_ms)
        counter = self._counter
        self._counter = counter + 1 & 0xFFFF
        # From the 25th day on the milliseconds fill all 32 bits: upstream's int is then negative, with the same bits.
        return f"{self._prefix}{now_ms - self._month_start_ms << 16 | counter:012X}"

    def _enter_month(self, now_ms: int) -> None:
        start_ms = self._month_start(now_ms)
        end_ms = self._month_start(start_ms + _MORE_THAN_A_MONTH_MS)
        if not start_ms <= now_ms < end_ms:
            raise LocalProtocolError(f"month_start_ms gave {start_ms} and {end_ms} as the month around {now_ms}")
        self._month_start_ms, self._month_end_ms = start_ms, end_ms

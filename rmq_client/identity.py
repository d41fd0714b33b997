"""Who this client is: client id and unique message ids.

Source: apache/rocketmq: client/.../ClientConfig.java (buildMQClientId), common/.../message/MessageClientIDSetter.java
"""

import itertools
import os
import random
import socket
import time
from functools import lru_cache

from protocol.address import pack_host
from protocol.message_id import UniqueIdGenerator

_ANYWHERE = ("192.0.2.1", 9)  # a documentation address: connecting a datagram socket sends nothing
_serial = itertools.count()


@lru_cache(maxsize=1)
def local_ip() -> str:
    """The address of this machine on the way out; 127.0.0.1 without a network."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_ANYWHERE)
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"


def new_client_id() -> str:
    """`ip@pid#nanoseconds`: unlike any other client object's, in this process or elsewhere."""
    return f"{local_ip()}@{os.getpid()}#{time.monotonic_ns() + next(_serial)}"


def new_id_generator() -> UniqueIdGenerator:
    """A maker of unique message ids that no other one in any process repeats."""
    return UniqueIdGenerator(pack_host(local_ip(), 0)[:4], os.getpid(), random.getrandbits(32), _month_start_ms)


def _month_start_ms(now_ms: int) -> int:
    now = time.localtime(now_ms / 1000)
    return int(time.mktime((now.tm_year, now.tm_mon, 1, 0, 0, 0, 0, 0, -1))) * 1000

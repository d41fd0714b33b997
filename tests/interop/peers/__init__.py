"""Published RocketMQ programs as peers: fetch them, run them on free ports, wait until they are ready, end them.

`tests/interop` and `python -m bench compare` use it. It needs Java 17 or later and Maven (Go for the Go programs), on
Linux or macOS, and knows nothing of our own packages.
"""

from tests.interop.peers.apache import (
    SERVER_JVM,
    SMALL_JVM,
    apache_cluster,
    broker,
    broker_conf,
    java,
    mqadmin,
    namesrv,
)
from tests.interop.peers.cache import LAST_4X, REFERENCE, go_programs, jars, java_program, missing
from tests.interop.peers.cluster import Cluster, wait_for_route
from tests.interop.peers.process import PeerError, Program, free_port, until
from tests.interop.peers.remoting import Answer, has_route, request

__all__ = [  # noqa: RUF022 - grouped by use
    # Servers
    "Cluster",
    "apache_cluster",
    "broker",
    "broker_conf",
    "namesrv",
    "wait_for_route",
    # Clients and tools
    "SERVER_JVM",
    "SMALL_JVM",
    "Program",
    "go_programs",
    "java",
    "java_program",
    "mqadmin",
    # The cache
    "LAST_4X",
    "REFERENCE",
    "jars",
    "missing",
    # Waiting and asking
    "Answer",
    "PeerError",
    "free_port",
    "has_route",
    "request",
    "until",
]

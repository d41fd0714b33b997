"""Topics at a broker that is to be measured."""

from bench.load.admin import Admin
from bench.servers import Servers
from tests.interop.peers import has_route, until

_ROUTE_SECONDS = 60.0


def create_topic(servers: Servers, topic: str, queues: int, *, routed: bool = False) -> None:
    """Create a topic (request 17); routed: and wait until clients find it.

    Raises: RefusedError; PeerError when no route appears in time.
    """
    with Admin(servers.broker) as admin:
        admin.create_topic(topic, queues)
    if routed:
        until(lambda: has_route(servers.namesrv, topic), seconds=_ROUTE_SECONDS, what=f"a route of {topic}")

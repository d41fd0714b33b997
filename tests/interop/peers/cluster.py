"""What a test may ask of the servers it runs against, whoever wrote them."""

from collections.abc import Sequence

from tests.interop.peers import remoting
from tests.interop.peers.process import PeerError, Program, until


class Cluster:
    """A nameserver and one broker, running as processes; started by `apache_cluster` or `our_cluster`."""

    def __init__(self, kind: str, namesrv: Program, namesrv_port: int, broker: Program, broker_port: int) -> None:
        self.kind = kind
        """Who wrote the servers, with the version; for reports."""
        self.namesrv = f"127.0.0.1:{namesrv_port}"
        self.broker = f"127.0.0.1:{broker_port}"
        self.namesrv_process = namesrv
        self.broker_process = broker

    def check_running(self) -> None:
        """Raises: PeerError with the end of its output, when a server has ended."""
        for program in (self.namesrv_process, self.broker_process):
            program.check_running()

    def create_topic(self, topic: str, *, queues: int = 4) -> None:
        """Create a topic on the broker and wait until the nameserver routes to it."""
        fields: dict[str, str | int] = {
            "topic": topic,
            "defaultTopic": "TBW102",
            "readQueueNums": queues,
            "writeQueueNums": queues,
            "perm": 6,
            "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": 0,
            "order": "false",
        }
        answer = remoting.request(self.broker, remoting.UPDATE_AND_CREATE_TOPIC, fields)
        if answer.code != 0:
            raise PeerError(f"{self.kind} did not create {topic}: {answer.code} {answer.remark}")
        until(lambda: remoting.has_route(self.namesrv, topic), seconds=30, what=f"{self.kind}: a route of {topic}")

    def max_offsets(self, topic: str, *, queues: int) -> Sequence[int]:
        """How many messages each queue of a topic has ever had."""
        answers = [
            remoting.request(self.broker, remoting.GET_MAX_OFFSET, {"topic": topic, "queueId": queue})
            for queue in range(queues)
        ]
        return [int(answer.fields["offset"]) for answer in answers]


def wait_for_route(namesrv: Program, namesrv_address: str, broker: Program, topic: str, *, seconds: float) -> None:
    """Wait until the nameserver routes `topic`, which is when clients can start.

    A broker is there some time after it says so, on a busy machine 20 s: only the route counts.

    Raises: PeerError with a server's output, when one ended or time is up.
    """

    def routed() -> bool:
        namesrv.check_running()
        broker.check_running()
        return remoting.has_route(namesrv_address, topic)

    until(routed, seconds=seconds, what=lambda: f"a route of {topic}\n{namesrv.report()}\n{broker.report()}")

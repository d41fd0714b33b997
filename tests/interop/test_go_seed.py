"""The programs of the load-balancing article, written for rocketmq-client-go, with only the address replaced."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.interop.peers import Cluster, Program, go_programs, missing, until

_SOURCES = Path(__file__).parent / "go"
_SENT = re.compile(r"^发送消息成功: MsgID=(\w+)$", re.MULTILINE)
_RECEIVED = re.compile(
    r"^\[(Consumer[12])\] 收到消息: MsgID=(\w+), Queue=.*queueId=(\d+)\S*, 内容=消息 \d$", re.MULTILINE
)
_QUEUES = {0, 1, 2, 3}


@pytest.fixture
def programs(cluster: Cluster, tmp_path: Path) -> Path:
    """The folder of the three programs, built for the cluster's address."""
    if reason := missing("go"):
        pytest.skip(reason)
    return go_programs(_SOURCES, tmp_path / "bin", ("127.0.0.1:9876", cluster.namesrv))


@pytest.mark.sample
def test_article_of_load_balancing(programs: Path, tmp_path: Path) -> None:
    """Ten sends succeed; two consumers have two queues each; when one is killed, the other has all four."""

    def send_ten() -> list[str]:
        with Program("producer", [str(programs / "producer")], tmp_path) as producer:
            output = producer.finish().output()
        assert len(_SENT.findall(output)) == 10, output
        return _SENT.findall(output)

    def shares(*consumers: Program) -> dict[str, set[int]]:
        """Send ten messages, which go round the queues, wait for them, and tell from which queues who had them."""
        ids = set(send_ten())

        def received() -> list[tuple[str, str, str]]:
            for consumer in consumers:
                consumer.check_running()
            lines = [line for consumer in consumers for line in _RECEIVED.findall(consumer.output())]
            return [line for line in lines if line[1] in ids]

        until(
            lambda: {message_id for _, message_id, _ in received()} == ids,
            seconds=60,
            what=lambda: "\n".join(["ten messages", *(consumer.report() for consumer in consumers)]),
        )
        had = defaultdict(set)
        for who, _, queue in received():
            had[who].add(int(queue))
        return dict(had)

    send_ten()
    with (
        Program("consumer1", [str(programs / "consumer1")], tmp_path) as consumer1,
        Program("consumer2", [str(programs / "consumer2")], tmp_path) as consumer2,
    ):
        until(
            lambda: shares(consumer1, consumer2) == {"Consumer1": {0, 1}, "Consumer2": {2, 3}},
            seconds=60,
            what="two queues each",
        )
        consumer1.stop(grace=0)
        until(lambda: shares(consumer2) == {"Consumer2": _QUEUES}, seconds=60, what="all queues at the other")

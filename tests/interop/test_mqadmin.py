"""Apache's own mqadmin looks at the servers and changes them, through the nameserver's address alone."""

import json
import re
from pathlib import Path

import pytest

from tests.interop.peers import LAST_4X, Cluster, mqadmin, until


@pytest.mark.not_yet("clusterList and topicStatus ask for broker statistics (28) and GET_TOPIC_CONFIG (351)")
@pytest.mark.usefixtures("needs_java")
def test_mqadmin(cluster: Cluster, tmp_path: Path) -> None:
    """A topic made, written to and looked at with mqadmin is the same to each of its commands."""
    if LAST_4X in cluster.kind:
        pytest.skip("topicStatus of mqadmin 5 asks for GET_TOPIC_CONFIG (351), which a 4.x broker does not know")

    def run(command: str, *arguments: str) -> str:
        printed = mqadmin(tmp_path, command, "-n", cluster.namesrv, *arguments)
        assert "Exception" not in printed, printed
        return printed

    [broker] = [line.split() for line in run("clusterList").splitlines() if cluster.broker in line]
    cluster_name, broker_name, broker_id = broker[:3]
    assert broker_id == "0"

    topic = "made-by-mqadmin"
    made = run("updateTopic", "-c", cluster_name, "-t", topic, "-r", "6", "-w", "6")
    assert f"create topic to {cluster.broker} success." in made
    until(lambda: topic in run("topicList").split(), seconds=30, what=f"{topic} in topicList")

    # Upstream prints the broker ids, which are keys, as bare numbers.
    route = json.loads(re.sub(r"(?<=[{,])(\d+):", r'"\1":', run("topicRoute", "-t", topic)))
    assert [
        (queues["brokerName"], queues["readQueueNums"], queues["writeQueueNums"]) for queues in route["queueDatas"]
    ] == [(broker_name, 6, 6)]
    assert [data["brokerAddrs"] for data in route["brokerDatas"]] == [{"0": cluster.broker}]

    sent = run("sendMessage", "-t", topic, "-p", "a body", "-c", "TagA", "-b", broker_name, "-i", "2")
    assert "SEND_OK" in sent, sent
    rows = [line.split() for line in run("topicStatus", "-t", topic).splitlines() if line.startswith(broker_name)]
    assert [(row[1], row[2], row[3]) for row in rows] == [(str(queue), "0", str(int(queue == 2))) for queue in range(6)]

    found = run("queryMsgByOffset", "-t", topic, "-b", broker_name, "-i", "2", "-o", "0")
    assert "TAGS=TagA" in found


@pytest.mark.usefixtures("needs_java")
def test_mqadmin_finds_messages(cluster: Cluster, tmp_path: Path) -> None:
    """By key, by unique key and by offset message id; who consumed it, which it then asks for (300), is no matter."""

    def run(command: str, *arguments: str) -> str:
        return mqadmin(tmp_path, command, "-n", cluster.namesrv, *arguments)

    topic = "found-by-mqadmin"
    run("updateTopic", "-b", cluster.broker, "-t", topic)
    until(lambda: topic in run("topicList").split(), seconds=30, what=f"{topic} in topicList")
    sent = run("sendMessage", "-t", topic, "-p", "a body", "-k", "k1 k2")
    [unique_id] = re.findall(r"SEND_OK\s+(\w+)", sent)
    for key in ("k1", "k2"):
        assert unique_id in run("queryMsgByKey", "-t", topic, "-k", key)
    assert unique_id not in run("queryMsgByKey", "-t", topic, "-k", "k3")
    by_unique_key = run("queryMsgByUniqueKey", "-t", topic, "-i", unique_id)
    assert f"UNIQ_KEY={unique_id}" in by_unique_key
    [physical] = re.findall(r"CommitLog Offset:\s+(\d+)", by_unique_key)
    host, _, port = cluster.broker.rpartition(":")
    offset_id = bytes(map(int, host.split("."))) + int(port).to_bytes(4, "big") + int(physical).to_bytes(8, "big")
    assert f"UNIQ_KEY={unique_id}" in run("queryMsgById", "-t", topic, "-i", offset_id.hex().upper())

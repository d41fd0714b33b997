"""RouteInfoManager: registration, liveness and routes, as upstream's."""

import json

import pytest

from protocol.bodies.route import QueueData
from protocol.bodies.topic_config import DataVersion, TopicConfig, TopicConfigTable
from rmq_server.core.clock import ManualClock
from rmq_server.namesrv.routes import BrokerKey, Master, Registration, RouteInfoManager

MASTER = "10.0.0.1:10911"
SLAVE = "10.0.0.2:10911"


def table(*topics: str, counter: int = 1, state: int = 0, timestamp: int = 5, perm: int = 6) -> TopicConfigTable:
    return TopicConfigTable(
        data_version=DataVersion(counter=counter, state_version=state, timestamp=timestamp),
        topic_config_table={
            topic: TopicConfig(topic_name=topic, read_queue_nums=4, write_queue_nums=4, perm=perm) for topic in topics
        },
    )


def registration(address: str = MASTER, topics: TopicConfigTable | None = None, **changes) -> Registration:
    values = {
        "key": BrokerKey("C", address),
        "broker_name": "a",
        "broker_id": 0,
        "channel": address,
        "topics": table("T1", "T2") if topics is None else topics,
        "ha_address": address.replace("10911", "10912"),
    }
    return Registration(**{**values, **changes})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def routes(clock: ManualClock) -> RouteInfoManager:
    return RouteInfoManager(clock)


def queue(routes: RouteInfoManager, topic: str = "T1") -> QueueData:
    route = routes.route(topic)
    assert route is not None
    (only,) = route.queue_datas
    return only


# Registration


def test_a_registered_topic_has_a_route_and_others_have_none(routes) -> None:
    assert routes.register(registration()) == Master()
    assert routes.encoded_route("T1") == (
        b'{"brokerDatas":[{"cluster":"C","brokerName":"a","brokerAddrs":{"0":"10.0.0.1:10911"},'
        b'"enableActingMaster":false}],"filterServerTable":{},'
        b'"queueDatas":[{"brokerName":"a","readQueueNums":4,"writeQueueNums":4,"perm":6,"topicSysFlag":0}]}'
    )
    assert routes.encoded_route("T3") is None
    assert routes.topics() == ["T1", "T2"]


def test_two_brokers_share_a_topic(routes) -> None:
    routes.register(registration())
    routes.register(registration(SLAVE, broker_name="b"))
    route = routes.route("T1")
    assert [broker.broker_name for broker in route.broker_datas] == ["a", "b"]
    assert [data.broker_name for data in route.queue_datas] == ["a", "b"]


def test_a_first_registration_with_exactly_one_topic_is_refused_and_leaves_nothing(routes) -> None:
    assert routes.register(registration(topics=table("T1"))) is None
    assert routes.cluster_info().broker_addr_table == {}
    assert routes.topics() == []
    assert routes.register(registration(topics=table())) == Master()
    assert routes.register(registration(topics=table("T1", counter=2))) == Master()


def test_an_incremental_registration_merges(routes) -> None:
    routes.register(registration())
    routes.register(registration(topics=table("T3", counter=2)))
    assert routes.topics() == ["T1", "T2", "T3"]


def test_pruning_removes_what_a_registration_leaves_out(clock) -> None:
    routes = RouteInfoManager(clock, prune=True)
    routes.register(registration())
    routes.register(registration(topics=table("T2", counter=2)))
    assert routes.topics() == ["T2"]


@pytest.mark.parametrize("changed", [{"counter": 2}, {"state": 1}, {"timestamp": 6}])
def test_topics_are_taken_over_only_when_any_part_of_the_version_differs(routes, changed) -> None:
    routes.register(registration())
    routes.register(registration(topics=table("T1", "T2", perm=4)))
    assert queue(routes).perm == 6
    routes.register(registration(topics=table("T1", "T2", perm=4, **changed)))
    assert queue(routes).perm == 4


def test_a_topic_that_is_missing_comes_back_also_with_the_same_version(routes) -> None:
    routes.register(registration())
    routes.delete_topic("T1")
    assert routes.route("T1") is None
    routes.register(registration())
    assert queue(routes).perm == 6


def test_an_encoded_route_follows_every_change(routes) -> None:
    def perm() -> int:
        return json.loads(routes.encoded_route("T1"))["queueDatas"][0]["perm"]

    def addresses() -> dict[str, str]:
        return json.loads(routes.encoded_route("T1"))["brokerDatas"][0]["brokerAddrs"]

    routes.register(registration())
    assert routes.encoded_route("T1") is routes.encoded_route("T1")
    routes.wipe_write_perm("a")
    assert perm() == 4
    routes.add_write_perm("a")
    assert perm() == 6
    routes.register(registration(topics=table("T1", "T2", counter=2, perm=2)))
    assert perm() == 2
    routes.register(registration(SLAVE, broker_id=1))
    assert addresses() == {"0": MASTER, "1": SLAVE}
    routes.channel_closed(SLAVE)
    assert addresses() == {"0": MASTER}
    routes.delete_topic("T1")
    assert routes.encoded_route("T1") is None


# Replicas


def test_a_slave_learns_its_master_and_does_not_touch_topics(routes) -> None:
    routes.register(registration())
    answer = routes.register(registration(SLAVE, table("T9", "T8", counter=9), broker_id=1))
    assert answer == Master(MASTER, "10.0.0.1:10912")
    assert routes.topics() == ["T1", "T2"]


def test_a_slave_without_a_master_learns_nothing(routes) -> None:
    assert routes.register(registration(SLAVE, broker_id=1)) == Master()
    assert routes.topics() == []


def test_the_topics_outlive_the_master_until_the_last_replica_goes(routes) -> None:
    routes.register(registration())
    routes.register(registration(SLAVE, broker_id=1))
    routes.channel_closed(MASTER)
    assert queue(routes).perm == 6
    assert routes.route("T1").broker_datas[0].broker_addrs == {1: SLAVE}
    routes.channel_closed(SLAVE)
    assert routes.route("T1") is None
    assert routes.cluster_info().cluster_addr_table == {}


def test_a_prime_slave_brings_its_topics_read_only_when_it_acts_as_master(routes) -> None:
    routes.register(registration(SLAVE, broker_id=1, acting_master=True))
    assert queue(routes).perm == 4
    routes.register(registration(SLAVE, table("T1", "T2", counter=2), broker_id=1, acting_master=False))
    assert queue(routes).perm == 6


def test_an_acting_master_lets_nobody_write_once_the_master_is_gone(routes) -> None:
    routes.register(registration(acting_master=True))
    routes.register(registration(SLAVE, broker_id=1, acting_master=True))
    routes.channel_closed(MASTER)
    assert queue(routes).perm == 4


def test_an_address_stands_under_one_id_only(routes) -> None:
    routes.register(registration(SLAVE, broker_id=1))
    routes.register(registration(SLAVE, broker_id=0))
    assert routes.route("T1").broker_datas[0].broker_addrs == {0: SLAVE}


def test_a_newcomer_takes_an_id_unless_its_holder_has_a_higher_state(routes) -> None:
    routes.register(registration(topics=table("T1", "T2", state=2)))
    assert routes.register(registration(SLAVE, table("T1", "T2", state=1))) == Master()
    assert routes.route("T1").broker_datas[0].broker_addrs == {0: MASTER}
    assert routes.data_version(BrokerKey("C", SLAVE)) is None
    routes.register(registration(SLAVE, table("T1", "T2", state=2)))
    assert routes.route("T1").broker_datas[0].broker_addrs == {0: SLAVE}
    routes.channel_closed(MASTER)
    assert routes.route("T1").broker_datas[0].broker_addrs == {0: SLAVE}


# Liveness


def test_the_latest_channel_counts(routes) -> None:
    routes.register(registration(channel="first"))
    routes.register(registration(channel="second"))
    routes.channel_closed("first")
    assert routes.route("T1") is not None
    routes.channel_closed("second")
    assert routes.route("T1") is None


def test_one_channel_may_carry_several_brokers(routes) -> None:
    routes.register(registration(channel="x"))
    routes.register(registration(SLAVE, broker_name="b", channel="x"))
    routes.channel_closed("x")
    assert routes.topics() == []


@pytest.mark.parametrize(("timeout_ms", "lives_s"), [(120_000, 120), (5_000, 5), (0, 120), (-1, 120)])
def test_silence_ends_a_broker_after_its_own_time(routes, clock, timeout_ms, lives_s) -> None:
    routes.register(registration(timeout_ms=timeout_ms))
    clock.advance(lives_s)
    assert routes.expire() == []
    clock.advance(0.1)
    (silent,) = routes.expire()
    assert silent.channel == MASTER
    assert routes.route("T1") is None
    assert routes.expire() == []


def test_any_word_keeps_a_broker_alive(routes, clock) -> None:
    routes.register(registration())
    for _ in range(3):
        clock.advance(100)
        routes.touch(BrokerKey("C", MASTER))
    clock.advance(100)
    routes.register(registration())
    clock.advance(100)
    assert routes.expire() == []
    routes.touch(BrokerKey("C", "nobody:1"))


def test_the_version_of_a_live_broker_is_known(routes) -> None:
    key = BrokerKey("C", MASTER)
    assert routes.data_version(key) is None
    routes.register(registration())
    assert routes.data_version(key) == DataVersion(counter=1, timestamp=5)
    routes.unregister(key, "a")
    assert routes.data_version(key) is None


def test_unregistering_what_is_not_there_changes_nothing(routes) -> None:
    routes.register(registration())
    routes.unregister(BrokerKey("C", "10.9.9.9:1"), "a")
    routes.unregister(BrokerKey("C", MASTER), "unknown")
    assert routes.route("T1") is not None


# Tools


def test_wiped_write_permission_lasts_until_the_next_change(routes) -> None:
    routes.register(registration())
    assert routes.wipe_write_perm("a") == 2
    assert routes.wipe_write_perm("unknown") == 0
    routes.register(registration())
    assert queue(routes).perm == 4
    routes.register(registration(topics=table("T1", "T2", counter=2)))
    assert queue(routes).perm == 6


def test_added_write_permission_is_read_and_write(routes) -> None:
    routes.register(registration(topics=table("T1", "T2", perm=1)))
    assert routes.add_write_perm("a") == 2
    assert queue(routes).perm == 6


def test_a_topic_is_deleted_everywhere_or_in_one_cluster(routes) -> None:
    routes.register(registration())
    routes.register(registration(SLAVE, broker_name="b", key=BrokerKey("D", SLAVE)))
    routes.delete_topic("T1", "D")
    assert queue(routes).broker_name == "a"
    routes.delete_topic("T2")
    routes.delete_topic("unknown")
    routes.delete_topic("unknown", "D")
    assert routes.topics() == ["T1"]


def test_a_topic_can_be_added_to_a_known_broker(routes) -> None:
    routes.register(registration())
    data = QueueData(broker_name="a", read_queue_nums=1, write_queue_nums=1, perm=6)
    stray = QueueData(broker_name="nobody", read_queue_nums=1, write_queue_nums=1, perm=6)
    routes.add_topic("T9", [data, stray])
    assert queue(routes, "T9") == data
    routes.add_topic("T10", [stray])
    assert routes.route("T10") is None


def test_clusters_and_their_topics(routes) -> None:
    routes.register(registration())
    routes.register(registration(SLAVE, table("T2", "T3"), broker_name="b", key=BrokerKey("D", SLAVE)))
    info = routes.cluster_info()
    assert info.cluster_addr_table == {"C": ["a"], "D": ["b"]}
    assert info.broker_addr_table["b"].broker_addrs == {0: SLAVE}
    assert routes.topics_of_cluster("C") == ["T1", "T2"]
    assert routes.topics_of_cluster("D") == ["T2", "T3"]
    assert routes.topics_of_cluster("E") == []

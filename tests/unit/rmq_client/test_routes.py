"""Queues to write and read, and addresses, from a route."""

import msgspec

from protocol.bodies.route import BrokerData, QueueData, TopicRouteData
from protocol.message import MessageQueue
from rmq_client.routes import RouteTable, TopicRoute, template_for


def broker(name: str, **addresses: str) -> BrokerData:
    return BrokerData(broker_name=name, broker_addrs={int(key[1:]): value for key, value in addresses.items()})


def queues(name: str, *, read: int = 2, write: int = 2, perm: int = 6) -> QueueData:
    return QueueData(broker_name=name, read_queue_nums=read, write_queue_nums=write, perm=perm)


def route(*brokers: BrokerData, of: list[QueueData], **more) -> TopicRoute:
    return TopicRoute.of("T", TopicRouteData(broker_datas=list(brokers), queue_datas=of, **more))


def test_written_is_only_where_a_master_is_and_permission():
    made = route(
        broker("b", _0="b:1"), broker("a", _0="a:1"), broker("slave", _1="s:1"), broker("ro", _0="r:1"),
        of=[queues("b"), queues("a", write=1), queues("slave"), queues("ro", perm=4), queues("gone")],
    )  # fmt: skip
    assert made.write_queues == (MessageQueue("T", "a", 0), MessageQueue("T", "b", 0), MessageQueue("T", "b", 1))
    assert {queue.broker_name for queue in made.read_queues} == {"a", "b", "slave", "ro", "gone"}


def test_an_order_configuration_fixes_the_queues():
    made = route(broker("a", _0="a:1"), of=[queues("a")], order_topic_conf="a:3;b:1")
    assert [(queue.broker_name, queue.queue_id) for queue in made.write_queues] == [
        ("a", 0), ("a", 1), ("a", 2), ("b", 0),
    ]  # fmt: skip
    assert made.order


def test_order_of_lists_is_no_change():
    a, b = broker("a", _0="a:1"), broker("b", _0="b:1")
    assert route(a, b, of=[queues("a"), queues("b")]).same_as(route(b, a, of=[queues("b"), queues("a")]))


def test_addresses():
    table = RouteTable()
    assert table.put(route(broker("a", _0="a:1", _2="a:3"), broker("b", _1="b:2"), of=[queues("a")]))
    assert table.master("a") == "a:1"
    assert table.master("b") is None
    assert table.replica("a", 1) == "a:3", "the replica after the wanted one"
    assert table.replica("a", 5) == "a:1"
    assert table.replica("b") == "b:2"
    assert table.replica("c") is None
    assert table.addresses(masters_only=True) == {"a:1"}
    assert table.addresses(masters_only=False) == {"a:1", "a:3", "b:2"}


def test_the_newest_word_on_an_address_counts():
    table = RouteTable()
    table.put(route(broker("a", _0="a:1"), of=[queues("a")]))
    other = TopicRoute.of("U", TopicRouteData(broker_datas=[broker("a", _0="a:2")], queue_datas=[]))
    assert table.put(other)
    assert table.master("a") == "a:2"
    assert not table.put(other)


def test_an_unknown_topic_gets_a_few_queues_of_the_template():
    template = TopicRouteData(broker_datas=[broker("a", _0="a:1")], queue_datas=[queues("a", read=8, write=8, perm=7)])
    made = TopicRoute.of("New", template_for("New", template, 4))
    assert len(made.write_queues) == 4
    assert made.write_queues[0].topic == "New"
    assert template.queue_datas[0].write_queue_nums == 8, "the template itself stays"
    assert isinstance(made.data.order_topic_conf, msgspec.UnsetType)

"""Two nameservers side by side: a broker registers with both, and clients use whichever lives."""

from dataclasses import replace

from protocol.bodies.codec import decode_body
from protocol.bodies.route import TopicRouteData
from protocol.codes import ResponseCode
from protocol.headers.namesrv import GET_ROUTEINFO_BY_TOPIC, RouteInfoHeader
from rmq_client import Producer, SendStatus
from rmq_server.broker.config import BrokerConfig
from rmq_server.broker.server import Broker
from rmq_server.core.lifecycle import running
from rmq_server.namesrv.config import NamesrvConfig
from rmq_server.namesrv.server import NameServer
from rmq_server.net.dialer import dial
from rmq_server.store.config import StoreConfig


async def knows(namesrv: str, topic: str) -> bool:
    link = await dial(namesrv)
    answer = await link.request(GET_ROUTEINFO_BY_TOPIC, RouteInfoHeader(topic=topic), timeout_s=5)
    link.close()
    if answer.code != ResponseCode.SUCCESS:
        return False
    return bool(decode_body(TopicRouteData, answer.body).broker_datas)


async def test_a_broker_registers_with_both_and_one_is_enough(tmp_path) -> None:
    config = NamesrvConfig(listen_port=0, kv_config_path=tmp_path / "first.json")
    first = NameServer(config)
    second = NameServer(replace(config, kv_config_path=tmp_path / "second.json"))
    store = StoreConfig(root=str(tmp_path / "store"))
    async with running(second):
        async with running(first):
            both = f"{first.address};{second.address}"
            broker = BrokerConfig(listen_port=0, namesrv_addr=both)
            async with running(Broker(broker, store)), Producer("p", namesrv=both) as producer:
                assert (await producer.send("T", b"one")).status is SendStatus.SEND_OK
                assert await knows(first.address, "T")
                assert await knows(second.address, "T")
        # A broker that starts now finds one nameserver dead, and serves all the same.
        async with running(Broker(broker, store)), Producer("p", namesrv=both) as producer:
            assert (await producer.send("T", b"two")).status is SendStatus.SEND_OK

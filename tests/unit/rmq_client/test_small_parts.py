"""Back-off, byte budget, pulse, settings, errors, identity."""

import asyncio
import time
from datetime import datetime

import pytest

import rmq_client
from protocol.codes import ResponseCode
from rmq_client import BackoffPolicy, BrokerError, ClientConfig, ConsumerConfig, Misuse, RocketMQError
from rmq_client.backoff import Backoff
from rmq_client.config import merged
from rmq_client.consumer.subscription import subscriptions_of
from rmq_client.errors import FlowControl, broker_error
from rmq_client.identity import _month_start_ms, new_client_id, new_id_generator
from rmq_client.inflight import ByteBudget
from rmq_client.pulse import Pulse


def test_waits_grow_as_specified():
    waits = Backoff(BackoffPolicy(), uniform=lambda low, high: 0.0)
    made = [waits.next_s() for _ in range(13)]
    expected = [1.0, 1.6, 2.56, 4.096, 6.5536, 10.48576, 16.777, 26.844, 42.950, 68.719, 109.951, 120, 120]
    assert made == pytest.approx(expected, rel=1e-4)
    waits.reset()
    assert waits.next_s() == 1.0


def test_all_waits_but_the_first_vary():
    waits = Backoff(BackoffPolicy(), uniform=lambda low, high: high)
    assert [waits.next_s(), waits.next_s()] == pytest.approx([1.0, 1.6 * 1.2])


async def test_room_is_given_in_order_and_a_large_one_passes_alone():
    budget = ByteBudget(10)
    await budget.take(8)
    order = []

    async def take(name: str, count: int) -> None:
        await budget.take(count)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(take("large", 25))
        await asyncio.sleep(0)
        group.create_task(take("small", 1))
        await asyncio.sleep(0)
        assert not budget.try_take(1), "others wait already"
        budget.give_back(8)
        await asyncio.sleep(0)
        assert order == ["large"]
        budget.give_back(25)
    assert order == ["large", "small"]
    assert budget.used == 1


async def test_a_cancelled_wait_takes_no_room():
    budget = ByteBudget(10)
    await budget.take(10)
    first = asyncio.ensure_future(budget.take(5))
    second = asyncio.ensure_future(budget.take(5))
    await asyncio.sleep(0)
    first.cancel()
    budget.give_back(10)
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert budget.used == 5


async def test_room_that_comes_with_the_cancellation_goes_back():
    budget = ByteBudget(10)
    await budget.take(10)
    waiting = asyncio.ensure_future(budget.take(5))
    await asyncio.sleep(0)
    budget.give_back(10)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert budget.used == 0


async def test_a_pulse_wakes_those_who_wait_now():
    pulse = Pulse()
    pulse.fire()
    assert await pulse.wait(0) is False
    waiting = [asyncio.ensure_future(pulse.wait()) for _ in range(2)]
    cancelled = asyncio.ensure_future(pulse.wait())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    pulse.fire()
    assert await asyncio.gather(*waiting) == [True, True]


def test_nameservers_from_argument_environment_and_default(monkeypatch):
    monkeypatch.delenv("NAMESRV_ADDR", raising=False)
    assert ClientConfig().nameservers == ["localhost:9876"]
    monkeypatch.setenv("NAMESRV_ADDR", "a:1;b")
    assert ClientConfig().nameservers == ["a:1", "b:9876"]
    assert merged(None, "[::1]:7", None).nameservers == ["[::1]:7"]
    with pytest.raises(Misuse, match="namesrv"):
        _ = ClientConfig(namesrv="a:b").nameservers


def test_addresses_are_mapped_by_address_or_host():
    config = ClientConfig(address_map={"172.17.0.2:10911": "localhost:20911", "broker": "127.0.0.1"})
    assert config.dial_address("172.17.0.2:10911") == ("localhost", 20911)
    assert config.dial_address("broker:10909") == ("127.0.0.1", 10909)
    assert config.dial_address("10.0.0.1:1") == ("10.0.0.1", 1)


def test_limits_are_checked():
    with pytest.raises(Misuse, match="pull_batch"):
        ConsumerConfig(pull_batch=0)


@pytest.mark.parametrize("expression", ["||", " || "])
def test_an_expression_without_a_tag_is_refused(expression):
    with pytest.raises(Misuse, match="no tag"):
        subscriptions_of({"T": expression}, 1)


def test_one_topic_may_be_named_alone():
    assert subscriptions_of("T", 1)["T"].sub_string == "*"
    assert subscriptions_of({"T": "a||b"}, 1)["T"].tags_set == ["a", "b"]
    with pytest.raises(Misuse, match="at least one"):
        subscriptions_of({}, 1)


def test_answers_become_the_error_of_their_code():
    error = broker_error(ResponseCode.SYSTEM_BUSY, "later", "b:1")
    assert isinstance(error, FlowControl)
    assert (error.code, error.remark, error.broker_addr, error.reply_code) == (2, "later", "b:1", 530)
    assert str(error) == "SYSTEM_BUSY (2) from b:1: later"
    unknown = broker_error(4711, None, "b:1")
    assert type(unknown) is BrokerError
    assert "unknown code (4711)" in str(unknown)


def test_upstreams_retriable_codes_are_retriable():
    retriable = {code for code in ResponseCode if broker_error(code, None, "").retriable}
    assert {17, 14, 1, 2, 16, 204, 205, 1500} <= retriable
    assert ResponseCode.MESSAGE_ILLEGAL not in retriable


def test_a_code_belongs_to_one_class():
    with pytest.raises(TypeError, match="belongs to"):

        class Another(BrokerError, codes=(ResponseCode.SYSTEM_BUSY,)):
            pass


def test_every_error_has_the_one_root():
    errors = [value for value in vars(rmq_client).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(errors) > 15
    assert all(issubclass(error, RocketMQError) for error in errors)


def test_every_public_name_is_there_and_documented():
    for name in rmq_client.__all__:
        value = getattr(rmq_client, name)
        if isinstance(value, type):
            assert value.__doc__, name


def test_client_ids_differ():
    first, second = new_client_id(), new_client_id()
    assert first != second
    assert first.count("@") == 1
    assert "#" in first


def test_ids_of_two_generators_differ():
    now = time.time_ns() // 1_000_000
    assert new_id_generator().next_id(now) != new_id_generator().next_id(now)


def test_the_month_starts_at_local_midnight():
    start = datetime.fromtimestamp(_month_start_ms(int(datetime(2024, 2, 29, 23, 59).timestamp() * 1000)) / 1000)
    assert start == datetime(2024, 2, 1)

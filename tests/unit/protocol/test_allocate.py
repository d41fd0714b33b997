"""Allocation against the tables that the Java strategies give, and every queue to exactly one member."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.allocate import (
    AVERAGELY,
    AVERAGELY_BY_CIRCLE,
    AllocationError,
    ConfiguredQueues,
    ConsistentHash,
    FunctionStrategy,
    MachineRoom,
    MachineRoomNearby,
    sort_client_ids,
    sort_queues,
    strategy_by_name,
)
from protocol.hashing import ring_hash
from protocol.message import MessageQueue

GROUP = "group"
MEMBERS = [f"192.168.0.1@{number}" for number in (1, 2, 3, 4)]


def queues_of(broker, count, topic="TopicTest"):
    return [MessageQueue(topic, broker, queue_id) for queue_id in range(count)]


def numbers(text):
    """`0 1 | 2-4 | -` as [[0, 1], [2, 3, 4], []]."""
    shares = []
    for share in text.split("|"):
        shares.append([])
        for word in share.split():
            first, dash, last = word.partition("-")
            if first:
                shares[-1] += range(int(first), int(last if dash else first) + 1)
    return shares


# queues, members, AVG, AVG_BY_CIRCLE (None: the same)
AVERAGE_TABLE = [
    (1, 3, "0 | - | -", None),
    (3, 2, "0 1 | 2", "0 2 | 1"),
    (3, 4, "0 | 1 | 2 | -", None),
    (3, 5, "0 | 1 | 2 | - | -", None),
    (4, 2, "0 1 | 2 3", "0 2 | 1 3"),
    (4, 3, "0 1 | 2 | 3", "0 3 | 1 | 2"),
    (4, 4, "0 | 1 | 2 | 3", None),
    (4, 5, "0 | 1 | 2 | 3 | -", None),
    (7, 2, "0-3 | 4-6", "0 2 4 6 | 1 3 5"),
    (7, 3, "0-2 | 3 4 | 5 6", "0 3 6 | 1 4 | 2 5"),
    (7, 4, "0 1 | 2 3 | 4 5 | 6", "0 4 | 1 5 | 2 6 | 3"),
    (7, 5, "0 1 | 2 3 | 4 | 5 | 6", "0 5 | 1 6 | 2 | 3 | 4"),
    (8, 2, "0-3 | 4-7", "0 2 4 6 | 1 3 5 7"),
    (8, 3, "0-2 | 3-5 | 6 7", "0 3 6 | 1 4 7 | 2 5"),
    (8, 4, "0 1 | 2 3 | 4 5 | 6 7", "0 4 | 1 5 | 2 6 | 3 7"),
    (8, 5, "0 1 | 2 3 | 4 5 | 6 | 7", "0 5 | 1 6 | 2 7 | 3 | 4"),
    (8, 10, "0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | - | -", None),
    (10, 3, "0-3 | 4-6 | 7-9", "0 3 6 9 | 1 4 7 | 2 5 8"),
    (10, 4, "0-2 | 3-5 | 6 7 | 8 9", "0 4 8 | 1 5 9 | 2 6 | 3 7"),
    (10, 5, "0 1 | 2 3 | 4 5 | 6 7 | 8 9", "0 5 | 1 6 | 2 7 | 3 8 | 4 9"),
    (16, 3, "0-5 | 6-10 | 11-15", "0 3 6 9 12 15 | 1 4 7 10 13 | 2 5 8 11 14"),
    (16, 5, "0-3 | 4-6 | 7-9 | 10-12 | 13-15", "0 5 10 15 | 1 6 11 | 2 7 12 | 3 8 13 | 4 9 14"),
    (
        16,
        10,
        "0 1 | 2 3 | 4 5 | 6 7 | 8 9 | 10 11 | 12 | 13 | 14 | 15",
        "0 10 | 1 11 | 2 12 | 3 13 | 4 14 | 5 15 | 6 | 7 | 8 | 9",
    ),
]


def shares_of(strategy, queues, members):
    return [strategy(GROUP, member, queues, members) for member in members]


@pytest.mark.parametrize(("queue_count", "member_count", "average", "circle"), AVERAGE_TABLE)
def test_average_and_circle(queue_count, member_count, average, circle):
    queues = queues_of("broker-a", queue_count)
    members = [f"c{index}" for index in range(member_count)]
    for strategy, expected in ((AVERAGELY, average), (AVERAGELY_BY_CIRCLE, circle or average)):
        shares = [[queue.queue_id for queue in share] for share in shares_of(strategy, queues, members)]
        assert shares == numbers(expected)


def short(shares, prefix="broker-"):
    """[[MessageQueue(broker-a, 0)]] as ["a0"]."""
    return [
        " ".join(f"{queue.broker_name.removeprefix(prefix)}{queue.queue_id}" for queue in share) for share in shares
    ]


@pytest.mark.parametrize(
    ("per_broker", "member_count", "average", "circle"),
    [
        (2, 2, ["a0 a1", "b0 b1"], ["a0 b0", "a1 b1"]),
        (4, 3, ["a0 a1 a2", "a3 b0 b1", "b2 b3"], ["a0 a3 b2", "a1 b0 b3", "a2 b1"]),
    ],
)
def test_average_and_circle_over_two_brokers(per_broker, member_count, average, circle):
    queues = sort_queues(queues_of("broker-b", per_broker) + queues_of("broker-a", per_broker))
    assert short(shares_of(AVERAGELY, queues, MEMBERS[:member_count])) == average
    assert short(shares_of(AVERAGELY_BY_CIRCLE, queues, MEMBERS[:member_count])) == circle


RING_PLACES = {
    "192.168.0.1@1": "2325484510 915250202 1182302340 1483543038 3005089754 "
    "3137459381 969495574 2621384661 3351819468 3419050718",
    "192.168.0.1@2": "3104487441 1005633112 2458843555 519527804 3462990646 "
    "2195541178 498012016 3909287866 2723006742 2471560621",
    "192.168.0.1@3": "1968161142 3965638884 2030351518 1755057503 3946390264 "
    "674125910 3219434121 4153953813 1472422129 1231506957",
    "192.168.0.1@4": "3375801033 2380034682 102096054 2663457050 3293343298 "
    "1187663469 4171289439 2534879266 3555013799 1777326606",
}
QUEUE_PLACES = "1987926524 4291349817 853506239 3652785994 3819253357 3264541832 2650622136 4171190878"


@pytest.mark.parametrize(("member", "places"), RING_PLACES.items())
def test_places_of_members_on_the_ring(member, places):
    assert [ring_hash(f"{member}-{replica}") for replica in range(10)] == [int(place) for place in places.split()]


def test_ring_hashes_members_and_queues_in_the_form_of_java():
    hashed = {}

    def spy(text):
        hashed[text] = ring_hash(text)
        return hashed[text]

    ConsistentHash(hash_text=spy)(GROUP, MEMBERS[0], queues_of("broker-a", 8), MEMBERS)
    queue_places = [int(place) for place in QUEUE_PLACES.split()]
    member_places = [int(place) for places in RING_PLACES.values() for place in places.split()]
    assert list(hashed.values()) == member_places + queue_places


@pytest.mark.parametrize(
    ("queues", "member_count", "expected"),
    [
        (queues_of("broker-a", 8), 2, ["a2 a5", "a0 a1 a3 a4 a6 a7"]),
        (queues_of("broker-a", 8), 3, ["a2 a5", "a1 a3 a4 a6 a7", "a0"]),
        (queues_of("broker-a", 8), 4, ["a2", "a3 a4", "a0", "a1 a5 a6 a7"]),
        (queues_of("broker-a", 4) + queues_of("broker-b", 4), 3, ["a2", "a1 a3 b0 b2", "a0 b1 b3"]),
    ],
)
def test_consistent_hash(queues, member_count, expected):
    assert short(shares_of(ConsistentHash(), queues, MEMBERS[:member_count])) == expected


def test_consistent_hash_with_another_hash():
    strategy = ConsistentHash(virtual_nodes=1, hash_text=len)
    queues = [MessageQueue("t" * length, "b", 0) for length in (1, 20)]
    assert shares_of(strategy, queues, ["c", "c" * 70]) == [[], queues]  # places 3 and 72; the queues are in between
    assert shares_of(strategy, queues, ["c", "c" * 10]) == [queues, []]  # past the last place, around to the smallest


def test_consistent_hash_without_virtual_nodes_gives_nothing():
    assert shares_of(ConsistentHash(virtual_nodes=0), queues_of("b", 3), MEMBERS) == [[], [], [], []]
    with pytest.raises(AllocationError, match="-1"):
        ConsistentHash(virtual_nodes=-1)


NAMES = st.text(alphabet="abz-_019é😀\uffee", min_size=1, max_size=4)
QUEUE_SETS = st.sets(st.builds(MessageQueue, st.just("T"), NAMES, st.integers(0, 20)), min_size=1, max_size=30)


@given(st.sampled_from([AVERAGELY, AVERAGELY_BY_CIRCLE, ConsistentHash()]), QUEUE_SETS, st.sets(NAMES, min_size=1))
def test_every_queue_has_exactly_one_member(strategy, queue_set, member_set):
    queues, members = sort_queues(queue_set), sort_client_ids(member_set)
    shares = shares_of(strategy, queues, members)
    assert sort_queues(queue for share in shares for queue in share) == queues
    assert all(share == sort_queues(share) for share in shares)
    if not isinstance(strategy, ConsistentHash):
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1
        assert sizes == sorted(sizes, reverse=True)


@given(QUEUE_SETS, st.sets(NAMES, min_size=2))
def test_member_that_leaves_the_ring_moves_only_its_own_queues(queue_set, member_set):
    queues, (gone, *rest) = sort_queues(queue_set), sort_client_ids(member_set)
    for member in rest:
        before = ConsistentHash()(GROUP, member, queues, [gone, *rest])
        assert set(before) <= set(ConsistentHash()(GROUP, member, queues, rest))


def test_configured_queues_are_given_as_they_are():
    queues = (MessageQueue("other", "b", 9), MessageQueue("TopicTest", "a", 1))
    assert ConfiguredQueues(queues)(GROUP, "anyone", [], []) == list(queues)
    assert ConfiguredQueues()(GROUP, "anyone", queues_of("a", 3), ["anyone"]) == []


ROOM_QUEUES = queues_of("hz@broker-a", 5) + queues_of("hz@broker-b", 3) + queues_of("sh@broker-c", 4)


@pytest.mark.parametrize(
    ("member_count", "expected"),
    [(3, ["a0 a1 b1", "a2 a3 b2", "a4 b0"]), (4, ["a0 a1", "a2 a3", "a4 b0", "b1 b2"])],
)
def test_machine_room(member_count, expected):
    shares = shares_of(MachineRoom({"hz"}), ROOM_QUEUES, MEMBERS[:member_count])
    assert short(shares, "hz@broker-") == expected


@pytest.mark.parametrize(
    ("broker_name", "taken"),
    [
        ("hz@b", True),
        ("hz@b@", True),  # Java's split drops empty parts at the end
        ("hz@", False),
        ("hz", False),
        ("@b", False),
        ("hz@b@c", False),
        ("sh@b", False),
        ("", False),
        ("@@", False),
    ],
)
def test_machine_room_needs_exactly_one_room_in_the_broker_name(broker_name, taken):
    queues = queues_of(broker_name, 1)
    assert MachineRoom({"hz"})(GROUP, "c", queues, ["c"]) == (queues if taken else [])


class FirstWord:
    """The room is what stands before the first dash."""

    def queue_room(self, queue):
        return queue.broker_name.partition("-")[0]

    def client_room(self, client_id):
        return client_id.partition("-")[0]


HZ, SH, BJ = queues_of("hz-a", 4), queues_of("sh-a", 4), queues_of("bj-a", 4)


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        (HZ + SH, [HZ[:2], HZ[2:], SH]),
        (BJ + HZ + SH, [HZ[:2] + BJ[:2], HZ[2:] + BJ[2:3], SH + BJ[3:]]),
        (HZ, [HZ[:2], HZ[2:], []]),
    ],
)
def test_nearby_machine_room(queues, expected):
    members = ["hz-c0", "hz-c1", "sh-c0"]
    assert shares_of(MachineRoomNearby(AVERAGELY, FirstWord()), queues, members) == expected


@given(QUEUE_SETS, st.sets(NAMES, min_size=1, max_size=5), st.sampled_from([AVERAGELY, AVERAGELY_BY_CIRCLE]))
def test_nearby_gives_every_queue_to_exactly_one_member(queue_set, member_set, inner):
    class FirstCharacter:
        def queue_room(self, queue):
            return queue.broker_name[0]

        def client_room(self, client_id):
            return client_id[0]

    queues, members = sort_queues(queue_set), sort_client_ids(member_set)
    shares = shares_of(MachineRoomNearby(inner, FirstCharacter()), queues, members)
    assert sort_queues(queue for share in shares for queue in share) == queues


@pytest.mark.parametrize(("broker_name", "member"), [("-a", "hz-c"), ("hz-a", "-c")])
def test_nearby_refuses_an_empty_room(broker_name, member):
    with pytest.raises(AllocationError, match="no machine room for '-"):
        MachineRoomNearby(AVERAGELY, FirstWord())(GROUP, member, queues_of(broker_name, 1), [member])


CHECKED = [
    AVERAGELY,
    AVERAGELY_BY_CIRCLE,
    ConsistentHash(),
    MachineRoom({"hz"}),
    MachineRoomNearby(AVERAGELY, FirstWord()),
]


@pytest.mark.parametrize("strategy", CHECKED, ids=lambda strategy: strategy.name)
@pytest.mark.parametrize(
    ("client_id", "queues", "members"), [("", HZ, ["hz-c"]), ("hz-c", [], ["hz-c"]), ("hz-c", HZ, [])]
)
def test_nothing_to_allocate_is_an_error(strategy, client_id, queues, members):
    with pytest.raises(AllocationError):
        strategy(GROUP, client_id, queues, members)


@pytest.mark.parametrize("strategy", CHECKED, ids=lambda strategy: strategy.name)
def test_stranger_gets_nothing(strategy):
    assert strategy(GROUP, "hz-stranger", HZ, ["hz-c"]) == []


def test_order_of_members_and_queues_is_by_utf_16_unit():
    members = ["10.0.0.10@1", "10.0.0.1@12", "10.0.0.1@9#1", "10.0.0.2@1", "B", "Z", "a", "😀", "\uffee"]
    assert sort_client_ids(reversed(members)) == members
    queues = [MessageQueue("T", "😀", 2), MessageQueue("T", "😀", 10), MessageQueue("T", "\uffee", 0)]
    assert sort_queues(reversed(queues)) == queues


def test_strategies_by_name():
    for name in ("AVG", "AVG_BY_CIRCLE", "CONSISTENT_HASH"):
        assert strategy_by_name(name).name == name
    with pytest.raises(AllocationError, match="no allocation strategy is called 'avg'; known are AVG, AVG_BY_CIRCLE"):
        strategy_by_name("avg")


def test_names_of_upstream():
    assert ConfiguredQueues().name == "CONFIG"
    assert MachineRoom(()).name == "MACHINE_ROOM"
    assert MachineRoomNearby(AVERAGELY_BY_CIRCLE, FirstWord()).name == "MACHINE_ROOM_NEARBY-AVG_BY_CIRCLE"


def test_function_of_the_application_is_a_strategy():
    def vip_first(group, client_id, queues, members):
        vips = [member for member in members if member.startswith("vip")]
        cut = -(-len(queues) * 6 // 10)
        if client_id in vips:
            return AVERAGELY(group, client_id, queues[:cut], vips)
        return AVERAGELY(group, client_id, queues[cut:], [member for member in members if member not in vips])

    strategy = FunctionStrategy("VIP", vip_first)
    queues = queues_of("b", 10)
    assert shares_of(strategy, queues, ["c0", "c1", "vip"]) == [queues[6:8], queues[8:], queues[:6]]
    assert strategy.name == "VIP"

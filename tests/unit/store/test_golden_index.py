"""The index files of Java brokers: each entry is a key of its record, every key is found, a rebuild is the same."""

from pathlib import Path
from struct import Struct

import pytest

from protocol.flags import MessageSysFlag
from protocol.hashing import index_key_hash
from protocol.message import decode_properties
from protocol.record import unpack
from rmq_server.store.message_store import MessageStore
from tests.support.golden import CRASHED, INDEX_SLOTS, RECORDS, extract, log_records
from tests.unit.store.harness import record
from tests.unit.store.test_golden_store import store_of

HEADER = Struct(">qqqqii")
ENTRY = Struct(">iqii")
ENTRIES_AT = 40 + 4 * INDEX_SLOTS

Key = tuple[str, str, int]


@pytest.fixture(params=RECORDS)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return extract(request.param, tmp_path / request.param)


def index_bytes(root: Path) -> bytes:
    (path,) = (root / "index").iterdir()
    assert len(path.name) == 17
    assert path.name.isdigit()
    return path.read_bytes()


def keys_in_log(root: Path) -> list[Key]:
    """Topic, key and physical offset, in the order in which they are indexed."""
    found = []
    for offset, data in log_records(root):
        made = unpack(data)
        if made.sys_flag & MessageSysFlag.TRANSACTION_MASK == MessageSysFlag.TRANSACTION_ROLLBACK:
            continue
        properties = decode_properties(made.properties.decode())
        keys = [properties["UNIQ_KEY"]] if "UNIQ_KEY" in properties else []
        keys += [key for key in properties.get("KEYS", "").split(" ") if key]
        found += [(made.topic, key, offset) for key in keys]
    return found


def open_store(root: Path) -> MessageStore:
    store = store_of(root)
    store.open()
    store.tick()
    return store


def check_finds(store: MessageStore, keys: list[Key]) -> None:
    for topic, key, _ in keys:
        expected = [offset for other, name, offset in keys if (other, name) == (topic, key)]
        found = [unpack(view, verify_body=True) for view in store.query(topic, key, max_count=1000)]
        assert [made.physical_offset for made in found] == expected, (topic, key)


def test_every_entry_is_a_key_of_its_record(golden: Path) -> None:
    data, keys = index_bytes(golden), keys_in_log(golden)
    assert HEADER.unpack_from(data)[5] == len(keys) + 1
    newest = dict.fromkeys(range(INDEX_SLOTS), 0)
    for number, (topic, key, offset) in enumerate(keys, 1):
        key_hash, physical, _, older = ENTRY.unpack_from(data, ENTRIES_AT + 20 * number)
        slot = key_hash % INDEX_SLOTS
        assert (key_hash, physical, older) == (index_key_hash(f"{topic}#{key}"), offset, newest[slot])
        newest[slot] = number
    slots = Struct(f">{INDEX_SLOTS}i").unpack_from(data, 40)
    assert dict(enumerate(slots)) == newest


def test_every_key_is_found(golden: Path) -> None:
    data, keys = index_bytes(golden), keys_in_log(golden)
    (golden / "abort").unlink(missing_ok=True)
    store = open_store(golden)
    check_finds(store, keys)
    assert store.query("gold_normal", "no such key") == []
    store.close()
    assert index_bytes(golden) == data


def test_a_crash_image_without_checkpoint_is_rebuilt_to_the_same_bytes(golden: Path) -> None:
    data, keys = index_bytes(golden), keys_in_log(golden)
    (golden / "abort").touch()
    (golden / "checkpoint").unlink(missing_ok=True)
    store = open_store(golden)
    check_finds(store, keys)
    store.close()
    assert index_bytes(golden) == data


def test_an_index_that_is_gone_is_rebuilt_to_the_same_bytes(golden: Path) -> None:
    data, keys = index_bytes(golden), keys_in_log(golden)
    (golden / "abort").unlink(missing_ok=True)
    for path in (golden / "index").iterdir():
        path.unlink()
    store = open_store(golden)
    check_finds(store, keys)
    store.close()
    assert index_bytes(golden) == data


def test_goes_on_in_the_file_where_java_stopped(golden: Path) -> None:
    data, keys = index_bytes(golden), keys_in_log(golden)
    (golden / "abort").unlink(missing_ok=True)
    store = open_store(golden)
    offset = store.put(record(topic="T", properties=b"KEYS\x01ours\x02"), 0).physical_offset
    check_finds(store, [*keys, ("T", "ours", offset)])
    store.close()
    changed = index_bytes(golden)
    assert HEADER.unpack_from(changed)[5] == len(keys) + 2
    whole = slice(ENTRIES_AT, ENTRIES_AT + 20 * (len(keys) + 1))
    assert changed[whole] == data[whole]


def test_vectors(tmp_path: Path) -> None:
    data = index_bytes(extract(CRASHED, tmp_path))
    assert data[:40].hex() == "000001a1fea90fa8000001a1feac56ce0000000000000000000000000000fb6d0000005f000000e8"
    entry = ENTRIES_AT + 2 * 20
    assert data[entry : entry + 20].hex() == "60ff20db00000000000000000000000000000000"
    assert index_key_hash("gold_normal#key-0") == 1627332827
    entry = ENTRIES_AT + 61 * 20
    assert data[entry : entry + 20].hex() == "564f5ab90000000000006f61000000000000003b"
    assert index_key_hash("gold_batch#FD00000000000000000000000000000231211DBD16A66A412901001F") % INDEX_SLOTS == 145

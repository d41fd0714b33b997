"""The KV configuration and its file."""

import pytest

from rmq_server.core.errors import StartupError
from rmq_server.namesrv.kvconfig import KVConfig


async def test_entries_survive_a_restart(tmp_path) -> None:
    path = tmp_path / "namesrv" / "kvConfig.json"
    kv = KVConfig(path)
    kv.load()
    await kv.put("ORDER_TOPIC_CONFIG", "T1", "broker-a:4")
    await kv.put("ORDER_TOPIC_CONFIG", "T2", "broker-b:4")
    await kv.delete("ORDER_TOPIC_CONFIG", "T2")
    await kv.delete("ORDER_TOPIC_CONFIG", "unknown")
    await kv.delete("unknown", "T1")
    again = KVConfig(path)
    again.load()
    assert again.get("ORDER_TOPIC_CONFIG", "T1") == "broker-a:4"
    assert again.get("ORDER_TOPIC_CONFIG", "T2") is None
    assert again.get("unknown", "T1") is None
    assert again.namespace("ORDER_TOPIC_CONFIG") == {"T1": "broker-a:4"}
    assert again.namespace("unknown") == {}


async def test_upstreams_file_is_read(tmp_path) -> None:
    path = tmp_path / "kvConfig.json"
    path.write_text('{\n\t"configTable":{"ORDER_TOPIC_CONFIG":{"T1":"broker-a:4"}\n\t}\n}')
    kv = KVConfig(path)
    kv.load()
    assert kv.get("ORDER_TOPIC_CONFIG", "T1") == "broker-a:4"


def test_a_damaged_file_stops_the_start(tmp_path) -> None:
    path = tmp_path / "kvConfig.json"
    path.write_text("{")
    with pytest.raises(StartupError, match="damaged"):
        KVConfig(path).load()

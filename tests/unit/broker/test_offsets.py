"""Committed offsets: stored as they come, written in a form that Java reads."""

from protocol.bodies.subscription_group import ConsumerOffsetTable
from rmq_server.broker.offsets import ConsumerOffsets
from rmq_server.core.clock import ManualClock
from rmq_server.core.json_file import JsonFile


def offsets(tmp_path) -> ConsumerOffsets:
    return ConsumerOffsets(JsonFile(tmp_path / "consumerOffset.json", ConsumerOffsetTable), ManualClock())


async def test_commits_survive(tmp_path) -> None:
    table = offsets(tmp_path)
    assert table.get("G", "T", 0) is None
    table.commit("G", "T", 0, 12, "peer")
    table.commit("G", "T", 1, 7, "peer")
    assert table.needs_save
    await table.save()
    assert not table.needs_save
    again = offsets(tmp_path)
    again.load()
    assert [again.get("G", "T", queue_id) for queue_id in (0, 1, 2)] == [12, 7, None]


def test_a_smaller_offset_is_stored_too_with_a_warning_that_names_it(tmp_path, caplog) -> None:
    table = offsets(tmp_path)
    table.commit("G", "T", 0, 12, "peer")
    table.commit("G", "T", 0, 5, "10.0.0.1:99")
    assert table.get("G", "T", 0) == 5
    assert "consumer offset moved back" in caplog.text
    assert "stored=12" in caplog.text
    assert "10.0.0.1:99" in caplog.text


def test_the_version_moves_every_500_commits(tmp_path) -> None:
    table = offsets(tmp_path)
    for offset in range(1, 501):
        table.commit("G", "T", 0, offset, "peer")
    assert table._version.counter == 1


def test_the_form_of_java_is_read(tmp_path) -> None:
    (tmp_path / "consumerOffset.json").write_text(
        '{\n\t"dataVersion":{"counter":3,"stateVersion":0,"timestamp":1700000000000},\n\t"groupTopicMap":{"g1":["T"]},'
        '\n\t"offsetTable":{\n\t\t"T@g1":{0:12,1:7\n\t\t}\n\t}\n}'
    )
    table = offsets(tmp_path)
    table.load()
    assert [table.get("g1", "T", 0), table.get("g1", "T", 1)] == [12, 7]

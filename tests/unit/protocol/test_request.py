"""The registry: complete, free of duplicates, and the table in the docs up to date."""

import pytest

import protocol.headers
from docs.generate_requests import PAGE, render
from protocol.codes import LanguageCode, RequestCode, ResponseCode
from protocol.header import Header, NoHeader, header_fields
from protocol.request import REQUESTS, RequestSpec, handlers_of, handles, request_spec

assert protocol.headers

LATER = {
    RequestCode.GET_ALL_TOPIC_CONFIG,
    RequestCode.UPDATE_BROKER_CONFIG,
    RequestCode.GET_BROKER_CONFIG,
    RequestCode.GET_BROKER_RUNTIME_INFO,
    RequestCode.CONSUMER_SEND_MSG_BACK,
    RequestCode.END_TRANSACTION,
    RequestCode.CHECK_TRANSACTION_STATE,
    RequestCode.GET_ALL_CONSUMER_OFFSET,
    RequestCode.GET_ALL_DELAY_OFFSET,
    RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
    RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
    RequestCode.GET_TOPIC_STATS_INFO,
    RequestCode.GET_CONSUMER_CONNECTION_LIST,
    RequestCode.GET_PRODUCER_CONNECTION_LIST,
    RequestCode.DELETE_SUBSCRIPTIONGROUP,
    RequestCode.GET_CONSUME_STATS,
    RequestCode.DELETE_TOPIC_IN_BROKER,
    RequestCode.RESET_CONSUMER_CLIENT_OFFSET,
    RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT,
    RequestCode.INVOKE_BROKER_TO_RESET_OFFSET,
    RequestCode.GET_UNIT_TOPIC_LIST,
    RequestCode.GET_HAS_UNIT_SUB_TOPIC_LIST,
    RequestCode.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST,
    RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_NS,
    RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER,
    RequestCode.GET_CONSUMER_RUNNING_INFO,
    RequestCode.CONSUME_MESSAGE_DIRECTLY,
    RequestCode.UPDATE_NAMESRV_CONFIG,
    RequestCode.GET_NAMESRV_CONFIG,
    RequestCode.SEND_REPLY_MESSAGE,
    RequestCode.SEND_REPLY_MESSAGE_V2,
    RequestCode.PUSH_REPLY_MESSAGE_TO_CLIENT,
    RequestCode.RECALL_MESSAGE,
    RequestCode.GET_BROKER_MEMBER_GROUP,
    RequestCode.NOTIFY_MIN_BROKER_ID_CHANGE,
}
"""Codes that have a number and no spec yet. Specify one, and take it out here."""


def test_every_code_is_specified_or_said_to_come_later():
    specified = {RequestCode(code) for code in REQUESTS}
    assert specified | LATER == set(RequestCode), "neither specified nor listed as later"
    assert not specified & LATER, "specified, and still listed as later"


def test_numbers_have_one_name():
    for codes in (RequestCode, ResponseCode, LanguageCode):
        assert len(codes.__members__) == len(set(codes)), f"{codes.__name__} gives one number two names"


def test_specs_are_found_by_their_codes():
    assert all(spec.code == code for code, spec in REQUESTS.items())


@pytest.mark.parametrize("spec", REQUESTS.values(), ids=lambda spec: spec.label)
def test_wire_names_are_unique_and_written_for_java(spec):
    for header in (spec.header, spec.reply):
        names = [field.wire_name for field in header_fields(header)]
        assert len(names) == len(set(names))
        assert all(name.isidentifier() for name in names)
        assert header.__doc__


def test_a_code_is_specified_once():
    with pytest.raises(ValueError, match="HEART_BEAT is specified twice"):
        request_spec(RequestCode.HEART_BEAT, NoHeader)


def test_registry_cannot_be_changed_from_outside():
    with pytest.raises(TypeError):
        REQUESTS[1] = None


def test_label():
    assert REQUESTS[RequestCode.SEND_MESSAGE_V2].label == "send_message_v2"


def test_handlers_are_found_by_their_marks():
    one, other = (RequestSpec(code, Header, Header) for code in (RequestCode.HEART_BEAT, RequestCode.PULL_MESSAGE))

    class Processor:
        @handles(one, other)
        def both(self):
            return self

        def neither(self):
            raise AssertionError

    processor = Processor()
    found = handlers_of(processor)
    assert set(found) == {one, other}
    assert found[one]() is processor


def test_docs_table_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == render(), "run `python docs/generate_requests.py`"

"""One root, and fault told apart."""

import pytest

from protocol import errors
from protocol.errors import HeaderError, LocalProtocolError, ProtocolError, RemoteProtocolError, RocketMQError

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_the_one_root(kind):
    assert issubclass(kind, RocketMQError)
    assert kind.__doc__


def test_fault_is_of_one_side():
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)
    assert issubclass(HeaderError, RemoteProtocolError)
    assert issubclass(ProtocolError, RocketMQError)


def test_header_error_names_the_field():
    assert HeaderError("`topic` is missing", field="topic").field == "topic"
    assert HeaderError("no object").field is None
    assert str(HeaderError("no object", field="x")) == "no object"

"""What a record says to those who derive from the log: today its tags code.

Source: apache/rocketmq: store/.../CommitLog.java (checkMessageAndReturnSize), MessageExtBrokerInner.java
"""

from protocol.hashing import tags_code
from protocol.message import PROPERTY_SEPARATOR, PropertyName
from protocol.record import RecordFacts

_SEPARATOR = PROPERTY_SEPARATOR.encode()
_TAGS = f"{PropertyName.TAGS}\x01".encode()


def tags_code_of_record(facts: RecordFacts) -> int:
    """The hash of the tag, 0 without one."""
    return tags_code(tag_of(facts.properties))


def tag_of(properties: bytes) -> str | None:
    """The tag in a properties text; of several the last counts."""
    end = len(properties)
    while (at := properties.rfind(_TAGS, 0, end)) >= 0:
        value = at + len(_TAGS)
        if at == 0 or properties[at - 1 : at] == _SEPARATOR:
            stop = properties.find(_SEPARATOR, value)
            tag = properties[value : len(properties) if stop < 0 else stop]
            if tag:
                return str(tag, "utf-8", "replace")
        end = at
    return None

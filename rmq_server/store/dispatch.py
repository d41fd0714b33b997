"""What a record says to those who derive from the log, and the tail that hands the records on.

ConsumeQueues are not among the dispatchers: their entries are made with the record. A dispatcher may lag: it follows
the readable end of the log from its own mark, a slice each loop turn, so that no reply waits for it and a long way to
catch up stalls nobody. While very much is sent it waits, within bounds.
Source: apache/rocketmq: store/.../DefaultMessageStore.java (ReputMessageService, doDispatch), CommitLog.java
(checkMessageAndReturnSize), MessageExtBrokerInner.java
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from protocol.hashing import tags_code
from protocol.message import KEY_SEPARATOR, PROPERTY_SEPARATOR, PropertyName
from protocol.record import MAGIC_BLANK, RECORD_MAGICS, CorruptRecord, RecordFacts, inspect_fast, prefix
from rmq_server.store.commitlog import CommitLog
from rmq_server.store.errors import NoSpace, StoreError
from rmq_server.store.flush import Worker
from rmq_server.store.layout import BLANK_BYTES
from rmq_server.store.mapped_file import MappedFile

_SLICE_BYTES = 1 << 17
_CALM_BYTES = 1 << 20
"""When the log grew by more since the last tick, senders have the processor, and what derives from it waits …"""
_MOST_LAG_BYTES = 1 << 28
"""… and stays no further behind than that."""
_NEAR_BYTES = 1 << 20  # what was written that little ago is in memory
_LAST_SLICES = (1 << 30) // _SLICE_BYTES
"""What a stop still hands on; more than that is left to the next start, as upstream's 5 s do."""

SEPARATOR = PROPERTY_SEPARATOR.encode()
SEPARATOR_BYTE = ord(PROPERTY_SEPARATOR)
_KEY_SEPARATOR = KEY_SEPARATOR.encode()
TAGS = f"{PropertyName.TAGS}\x01".encode()
_UNIQ_KEY = f"{PropertyName.UNIQ_KEY}\x01".encode()
_KEYS = f"{PropertyName.KEYS}\x01".encode()

logger = structlog.get_logger(__name__)


class Dispatcher(Protocol):
    """A structure that derives from the log and knows how far it is."""

    @property
    def resume_at(self) -> int:
        """The first offset of the log from which on it may miss something: the start of a record, or 0."""
        ...

    def dispatch(self, records: Sequence[RecordFacts]) -> None:
        """Take records in the order of the log, passing over those that it has.

        Raises: NoSpace when the same records must be offered again later; other StoreErrors when it gives up.
        """
        ...


class LogTail:
    """Hands the records of the log to the dispatchers.

    readable: up to where.
    schedule: runs a callable later on the loop, once.
    worker:   reads what is not in memory, so that the loop does not wait for the disk.
    """

    def __init__(
        self,
        log: CommitLog,
        dispatchers: Sequence[Dispatcher],
        *,
        readable: Callable[[], int],
        schedule: Callable[[Callable[[], None]], object],
        worker: Worker,
    ) -> None:
        self.position = 0  # everything before it was handed on
        self._log = log
        self._dispatchers = list(dispatchers)
        self._readable = readable
        self._schedule = schedule
        self._worker = worker
        self._seen = self._until = 0
        self._busy = False  # the next slice is scheduled, or being read from the disk

    @property
    def lag(self) -> int:
        """Bytes of the log that are readable and not yet handed on."""
        return self._readable() - self.position if self._dispatchers else 0

    def start(self) -> None:
        """Begin where the dispatcher that is least far stopped."""
        marks = [dispatcher.resume_at for dispatcher in self._dispatchers]
        self.position = max(self._log.start, min(marks, default=self._log.end))
        self._seen = self._readable()

    def tick(self) -> None:
        """Go on in the following turns of the loop if there is something to do; asked ten times a second."""
        readable = self._readable()
        grown, self._seen = readable - self._seen, readable
        self._until = readable if grown < _CALM_BYTES else readable - _MOST_LAG_BYTES
        self._go_on()

    def step(self) -> bool:
        """Hand on one slice; says whether there is more that can be handed on now."""
        lag = self.lag
        if lag <= 0:
            return False
        if self.position < self._log.start:
            self.position = self._log.start  # retention was faster
        try:
            end, records = self._read(self.position + lag)
        except StoreError as error:
            logger.error("the log cannot be read, so that nothing derives from it until a restart", error=str(error))
            self.stop()
            return False
        for dispatcher in list(self._dispatchers):
            try:
                dispatcher.dispatch(records)
            except NoSpace:
                return False
            except StoreError as error:
                logger.error("a derived structure cannot be written; it is rebuilt at the next start", error=str(error))
                self._dispatchers.remove(dispatcher)
        self.position = end
        return self.lag > 0

    def finish(self) -> None:
        """Hand on what is left before a stop."""
        for _ in range(_LAST_SLICES):
            if not self.step():
                break
        if self.lag > 0:
            logger.warning("index is behind the log; it goes on at the next start", bytes_left=self.lag)

    def stop(self) -> None:
        """Hand nothing on any more."""
        self._dispatchers.clear()

    def _go_on(self) -> None:
        if self.position < self._until and self._dispatchers and not self._busy:
            self._busy = True
            self._schedule(self._run)

    def _run(self) -> None:
        segment = self._log.segments.find(self.position) if self.lag > _NEAR_BYTES else None
        if segment is not None:
            start, length = self.position, min(_SLICE_BYTES, segment.end - self.position)
            if not segment.is_cached(start, length):
                self._worker.submit(lambda: _touch(segment, start, length), self._advance)
                return
        self._advance()

    def _advance(self, error: Exception | None = None) -> None:
        self._busy = False
        if self.step():
            self._go_on()

    def _read(self, readable: int) -> tuple[int, list[RecordFacts]]:
        """The records of the next slice, and where they end."""
        start = self.position
        segment = self._log.segments.find(start)
        if segment is None:
            return readable, []
        stop = min(segment.end, readable)
        chunk = segment.read(min(_SLICE_BYTES, stop - start), start)
        if len(chunk) >= BLANK_BYTES:
            size, magic = prefix(chunk)
            if magic in RECORD_MAGICS and len(chunk) < size <= stop - start:
                chunk = segment.read(size, start)  # larger than a slice
        records = _records_in(chunk, start)
        if records:
            return records[-1].physical_offset + records[-1].size, records
        return self._past_damage(chunk, start, segment.end, readable), []

    def _past_damage(self, chunk: bytes, start: int, segment_end: int, readable: int) -> int:
        """Where to go on when no record starts here: after the blank, the damaged record, or the segment."""
        size, magic = prefix(chunk) if len(chunk) >= BLANK_BYTES else (0, 0)
        following = min(segment_end, readable)
        if magic == MAGIC_BLANK:
            return following
        if magic in RECORD_MAGICS and 0 < size <= following - start:
            following = start + size
        logger.error("damaged record is not indexed", physical_offset=start, resumed_at=following)
        return following


def _touch(segment: MappedFile, start: int, length: int) -> None:
    segment.read(length, start)


def _records_in(chunk: bytes, base: int) -> list[RecordFacts]:
    """The whole records at the beginning of a chunk that starts at `base`."""
    records: list[RecordFacts] = []
    at = 0
    with contextlib.suppress(CorruptRecord):  # the end, or what is not whole
        while True:
            facts = inspect_fast(chunk, at, False)  # whoever serves the body verifies it
            if facts.physical_offset != base + at:
                break
            records.append(facts)
            at += facts.size
    return records


def tags_code_of_record(facts: RecordFacts) -> int:
    """The hash of the tag, 0 without one."""
    return tags_code(tag_of(facts.properties))


def tag_of(properties: bytes) -> str | None:
    """The tag in a properties text; of several the last counts."""
    return _text(_last_value(properties, TAGS))


def unique_key_of(properties: bytes) -> str | None:
    """The producer's id of the message."""
    return _text(_last_value(properties, _UNIQ_KEY))


def keys_of(properties: bytes) -> list[str]:
    """What a message can be looked up by: its unique key, then the words of KEYS."""
    return [str(key, "utf-8", "replace") for key in encoded_keys_of(properties)]


def encoded_keys_of(properties: bytes) -> list[bytes]:
    """The same in UTF-8."""
    unique, words = _last_value(properties, _UNIQ_KEY), _last_value(properties, _KEYS)
    keys = [] if unique is None else [unique]
    if words is not None:
        keys += [word for word in words.split(_KEY_SEPARATOR) if word]
    return keys


def _text(value: bytes | None) -> str | None:
    return None if value is None else str(value, "utf-8", "replace")


def _last_value(properties: bytes, head: bytes) -> bytes | None:
    """The last value, that is not empty, of the property whose name and separator are `head`."""
    end = len(properties)
    while (at := properties.rfind(head, 0, end)) >= 0:
        value = at + len(head)
        if at == 0 or properties[at - 1] == SEPARATOR_BYTE:
            stop = properties.find(SEPARATOR, value)
            text = properties[value : len(properties) if stop < 0 else stop]
            if text:
                return text
        end = at
    return None

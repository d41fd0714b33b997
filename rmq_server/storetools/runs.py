"""What the tools find in a directory: the run of files that makes up a log, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Problem(NamedTuple):
    """Something wrong at a byte of a file; offset None when it is about all of it."""

    path: Path
    offset: int | None
    text: str


class Segment(NamedTuple):
    """One file of a log: bytes [start, end), of which the first `size` exist."""

    path: Path
    start: int
    end: int
    size: int


@dataclass(frozen=True, slots=True)
class Run:
    """The files of one log in order; file_bytes is the length that most of them have."""

    directory: Path
    segments: Sequence[Segment]
    file_bytes: int

    @property
    def start(self) -> int:
        return self.segments[0].start if self.segments else 0

    @property
    def end(self) -> int:
        return self.segments[-1].end if self.segments else 0

    def find(self, offset: int) -> Segment | None:
        """The file that holds an offset of the log."""
        if not self.segments or not self.start <= offset < self.end:
            return None
        guess = (offset - self.start) // self.file_bytes  # exact unless files are missing
        for segment in self.segments[: guess + 1][::-1]:
            if segment.start <= offset:
                return segment if offset < segment.end else None
        return None

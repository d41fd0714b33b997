"""`--ports-file`: what a server bound, as JSON, for tests and scripts that start servers on port 0.

The file appears, whole, when the server is ready, and goes when it stops.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from rmq_server.core.errors import StartupError


class PortsFile:
    """The file, or nothing when none was asked for."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, bound: Mapping[str, str]) -> None:
        """Put the file in place.

        Raises: StartupError.
        """
        if self._path is None:
            return
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(bound, indent=2) + "\n", "utf-8")
            os.replace(temporary, self._path)
        except OSError as error:
            raise StartupError(f"cannot write the ports file {self._path}: {error.strerror}") from None

    def remove(self) -> None:
        """Take the file away, also one that a killed server left behind."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

"""The stores that Apache's brokers wrote (golden/stores): extracted, read raw, and what was promised about them."""

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

from protocol.record import RECORD_MAGICS, prefix

STORES = Path(__file__).parents[1] / "golden/stores"
RECORDS = {"5.3.3-JSON": 118, "5.3.3-ROCKETMQ": 88, "4.9.7-JSON": 84}
"""How many records the log of each has; retries and transaction checks make the difference."""
CRASHED = "5.3.3-JSON"
"""The one that was copied before its broker had stopped."""
COMMITLOG_FILE_BYTES = 262_144
CONSUMEQUEUE_FILE_BYTES = 2000
INDEX_SLOTS, INDEX_ENTRIES = 200, 1000


def extract(name: str, target: Path) -> Path:
    """A copy of a store, to do anything with."""
    with tarfile.open(STORES / f"{name}.tar.gz") as archive:
        archive.extractall(target, filter="data")
    return target / "store"


def ledger(name: str) -> list[dict[str, Any]]:
    """What the producers of a store were told, a line for each send."""
    lines = gzip.decompress((STORES / f"{name}.ledger.jsonl.gz").read_bytes()).splitlines()
    return [line for line in map(json.loads, lines) if "topic" in line]


def log_records(root: Path) -> list[tuple[int, bytes]]:
    """Physical offset and bytes of every record of the first segment, the only one that those stores have."""
    data = (root / "commitlog" / ("0" * 20)).read_bytes()
    found, at = [], 0
    while prefix(data, at)[1] in RECORD_MAGICS:
        size = prefix(data, at)[0]
        found.append((at, data[at : at + size]))
        at += size
    return found

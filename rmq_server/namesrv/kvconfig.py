"""The KV configuration of one NameServer: namespace -> key -> value, in kvConfig.json.

It is not replicated: admins write it to every NameServer.
Source: apache/rocketmq: namesrv/.../kvconfig/KVConfigManager.java, KVConfigSerializeWrapper.java
"""

from collections.abc import Mapping
from pathlib import Path

from protocol.bodies.codec import Body
from rmq_server.core.json_file import JsonFile


class KVConfigFile(Body):
    """kvConfig.json."""

    config_table: dict[str, dict[str, str]] = {}


class KVConfig:
    """The table and its file."""

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path, KVConfigFile)
        self._content = KVConfigFile()

    def load(self) -> None:
        """Read the file, if there is one.

        Raises: StartupError when it is damaged.
        """
        self._content = self._file.load() or KVConfigFile()

    def get(self, namespace: str, key: str) -> str | None:
        """One value; None when it is not there."""
        return self._content.config_table.get(namespace, {}).get(key)

    def namespace(self, namespace: str) -> Mapping[str, str]:
        """All entries of a namespace; empty when there is none."""
        return self._content.config_table.get(namespace, {})

    async def put(self, namespace: str, key: str, value: str) -> None:
        """Set a value; it counts at once and is on disk on return.

        Raises: OSError when it could not be written.
        """
        self._content.config_table.setdefault(namespace, {})[key] = value
        await self._file.save(self._content)

    async def delete(self, namespace: str, key: str) -> None:
        """Remove a value, if it is there.

        Raises: OSError when that could not be written.
        """
        if self._content.config_table.get(namespace, {}).pop(key, None) is not None:
            await self._file.save(self._content)

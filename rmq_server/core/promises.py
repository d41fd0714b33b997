"""Upstream's keys that promise something to users which we cannot keep yet: a server refuses to start over them.

To ignore such a key would be a lie: who sets `aclEnable=true` relies on it. Support for a key removes its line here.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Promise(NamedTuple):
    """kept: the values that describe what we do anyway; why: what is missing, as a clause."""

    kept: tuple[str, ...]
    why: str


_OFF = ("false",)
_ACCESS = "access control is not supported yet, so every client could read and write"
_REPLICATION = "replication is not supported yet, so a message is stored on this broker only"
_CONTROLLER = "the controller and automatic fail-over are not supported yet"
_DISK = "only upstream's default store format is supported"
_TLS = "TLS is not supported yet, so traffic would not be encrypted"

PROMISES: Mapping[str, Promise] = {
    "aclEnable": Promise(_OFF, _ACCESS),
    "authenticationEnabled": Promise(_OFF, _ACCESS),
    "authorizationEnabled": Promise(_OFF, _ACCESS),
    "brokerRole": Promise(("ASYNC_MASTER",), _REPLICATION),
    "brokerId": Promise(("0",), _REPLICATION),
    "inSyncReplicas": Promise(("1",), _REPLICATION),
    "minInSyncReplicas": Promise(("1",), _REPLICATION),
    "totalReplicas": Promise(("1",), _REPLICATION),
    "allAckInSyncStateSet": Promise(_OFF, _REPLICATION),
    "enableAutoInSyncReplicas": Promise(_OFF, _REPLICATION),
    "duplicationEnable": Promise(_OFF, _REPLICATION),
    "enableSlaveActingMaster": Promise(_OFF, _REPLICATION),
    "enableControllerMode": Promise(_OFF, _CONTROLLER),
    "enableControllerInNamesrv": Promise(_OFF, _CONTROLLER),
    "enableDLegerCommitLog": Promise(_OFF, _CONTROLLER),
    "storeType": Promise(("default",), _DISK),
    "configManagerVersion": Promise(("v1",), _DISK),
    "transientStorePoolEnable": Promise(_OFF, _DISK),
    "messageStorePlugIn": Promise(("",), _DISK),
    "enableMultiDispatch": Promise(_OFF, "light message queues are not supported yet"),
    "enableLmq": Promise(_OFF, "light message queues are not supported yet"),
    "useTLS": Promise(_OFF, _TLS),
    "tls.enable": Promise(_OFF, _TLS),
    "tls.server.mode": Promise(("disabled",), _TLS),
}

_ANY_TLS = Promise((), _TLS)


def promise_of(key: str) -> Promise | None:
    """What a key promises; None when it is no such key."""
    return PROMISES.get(key) or (_ANY_TLS if key.startswith("tls.") else None)

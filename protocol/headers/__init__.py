"""Request and reply headers, one module per family; importing the package completes the registry."""

from protocol.headers import client, namesrv, offset, pull, query, send, topic

__all__ = ["client", "namesrv", "offset", "pull", "query", "send", "topic"]

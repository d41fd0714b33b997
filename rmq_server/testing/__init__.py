"""Servers inside your own process, for tests: the real thing on free ports."""

from rmq_server.testing.cluster import EmbeddedCluster

__all__ = ["EmbeddedCluster"]

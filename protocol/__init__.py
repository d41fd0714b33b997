"""Bytes to values and back for the RocketMQ protocol: no sockets, no clock, no event loop."""

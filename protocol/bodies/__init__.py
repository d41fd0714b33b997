"""JSON bodies of requests, replies and config files: msgspec structs in camelCase.

Source: apache/rocketmq: remoting/.../protocol/body/, route/, heartbeat/, subscription/; remoting.md 1.14
"""

"""The asyncio client for RocketMQ clusters, Apache's or ours."""

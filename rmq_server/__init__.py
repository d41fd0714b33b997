"""RocketMQ NameServer and Broker on asyncio."""

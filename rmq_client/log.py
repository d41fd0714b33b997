"""The client's loggers: children of `rmq_client`, silent until the application configures `logging`."""

import logging

logging.getLogger("rmq_client").addHandler(logging.NullHandler())


def logger(part: str) -> logging.Logger:
    """The logger of one part of the client, for example `rmq_client.consumer`."""
    return logging.getLogger(f"rmq_client.{part}")

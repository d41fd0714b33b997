"""AdminClient: look at a cluster and change it."""

from rmq_client.admin.client import AdminClient

__all__ = ["AdminClient"]

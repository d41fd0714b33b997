"""Tools for a store directory that no broker is using: look at it, check it, rebuild what derives, move messages.

They work on directories of our brokers and of Apache's; sizes are detected from the files. Reading opens every file for
reading only, streams, and holds memory for queues and problems, never for messages.
"""

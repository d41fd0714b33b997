"""Consumers of old data beside producers: how long the broker's loop stands still."""

"""A load generator in a process of its own: pre-encoded requests, replies counted without being decoded."""

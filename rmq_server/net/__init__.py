"""Sockets and request routing: bytes to calls and back, knowing no broker."""

"""Ours against Apache's published broker, one loaded at a time in short alternating windows."""

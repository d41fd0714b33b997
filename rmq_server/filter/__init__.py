"""Message filters: pure predicates over tags and properties."""

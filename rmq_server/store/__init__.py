"""The store directory: CommitLog, what derives from it, and what makes it durable."""

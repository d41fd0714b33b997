"""An embedded cluster and fault tools for tests, ours and our users'."""

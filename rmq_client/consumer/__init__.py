"""Consumers: pull, dispatch, rebalance, offsets."""

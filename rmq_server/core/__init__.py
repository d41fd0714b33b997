"""Configuration, errors, clock, life cycle and logs: what every server part stands on."""

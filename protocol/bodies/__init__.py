"""JSON bodies: routes, heartbeats, topic and group tables, locks."""

"""One module per request family of the Broker."""

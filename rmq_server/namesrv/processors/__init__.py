"""One module per request family of the NameServer."""

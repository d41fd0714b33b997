"""Measures our servers, client and codecs, and Apache's beside them. Run `python -m bench`; README.md explains."""

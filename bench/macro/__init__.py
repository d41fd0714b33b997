"""The whole path: our client in one process, our servers in others."""

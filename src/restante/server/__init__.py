"""Sockets, event loop and processes around `restante.protocol`."""

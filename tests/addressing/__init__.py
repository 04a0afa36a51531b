"""Whom an address or a login name means."""

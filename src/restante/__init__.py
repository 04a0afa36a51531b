"""Restante: a post office for POP3."""

__version__ = "0.1.0"

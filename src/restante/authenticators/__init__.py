"""Kinds of user tables, each behind the contract of `restante.auth`."""

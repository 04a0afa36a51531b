"""Kinds of mail storage, each behind the contract of `restante.maildrop`."""

"""The grammar of POP3 without any I/O: octets in, octets and events out."""

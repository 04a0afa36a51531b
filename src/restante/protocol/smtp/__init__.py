"""The server's side of LMTP (RFC 2033) and SMTP (RFC 5321), without any I/O."""

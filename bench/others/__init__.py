"""The third table: other servers that serve the same mail."""

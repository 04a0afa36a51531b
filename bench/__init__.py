"""Measurements beside other servers, in one run: ratios, not figures of a machine."""

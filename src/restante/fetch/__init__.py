"""Fetching mail from other servers, so that nothing is lost and nothing comes twice."""

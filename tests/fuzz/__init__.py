"""Fuzzing: ``python -m tests.fuzz session --seconds 60``; ``sasl`` is the other target (`make fuzz` runs both).

A target is a module with `check(octets)`, which raises when what it states is broken, and `seeds()`, which makes the
first inputs from valid sessions.  `tests.fuzz.test_targets` runs both for some seconds without atheris.
"""

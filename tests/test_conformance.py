"""The table of rules and tests is true."""

from tests import conformance


def test_every_rule_has_a_test_or_a_reason() -> None:
    """No MUST without a test: one that has none says why it does not apply, and is not also tested."""
    proved = conformance.proofs()
    numbers = [rule.number for rule in conformance.rules()]
    assert len(numbers) == len(set(numbers)) > 220
    assert [number for number in numbers if number not in proved and number not in conformance.WITHOUT_TEST] == []
    assert [number for number in conformance.WITHOUT_TEST if number in proved] == []


def test_the_page_is_up_to_date() -> None:
    """`make conformance` writes it."""
    assert conformance.PAGE.read_text(encoding="utf-8") == conformance.page()

"""Makes docs/reference/conformance.md: every rule that is kept, and the tests that prove it.

Run ``python -m tests.conformance`` to write the page; a test fails when the page is not what would be written.
A test proves a rule when its own docstring, or a comment inside it or its decorators, names the rule; "P-070 to P-073"
names those in between too.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "conformance.md"
RULES = ROOT / "tests" / "rules.tsv"
SHOWN = 4
"""Tests that are named for a rule; of more only the number is told."""

_RULE = re.compile(r"\b[PMDK]-\d{3}\b")
_RANGE = re.compile(r"\b([PMDK])-(\d{3}) to [PMDK]-(\d{3})\b")

WITHOUT_TEST = {
    "P-243": "Not built: the policy is per listener, not per user.",
    "P-313": "A hint for readers of docs/tutorial.md.",
}
"""Rules without a test, and why."""

HEAD = """\
# Conformance

Every rule that is kept here, where it comes from, and the tests that prove it. The numbers are those that the
code and the tests cite, P for the protocol, M for what is on disk, D for delivery, K for the client; the
gaps between them are nothing that is missing. MUST, SHOULD and MAY are the RFCs' words,
PRODUCT is a choice of ours where they leave room. This page is generated from the tests (`make conformance`), and a
test fails when it is out of date or when a MUST has no test.

| rule | level | source (RFC, section) | what it says | proved by |
|---|---|---|---|---|
"""


class Rule(NamedTuple):
    """A row of the catalogue."""

    number: str
    level: str
    source: str
    text: str


def rules() -> list[Rule]:
    """Read the catalogue."""
    return [Rule(*line.split("\t")) for line in RULES.read_text(encoding="utf-8").splitlines()]


def proofs() -> Mapping[str, list[str]]:
    """Find the tests of each rule."""
    known = {rule.number for rule in rules()}
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for test in _tests(ast.parse(text)):
            cited = ast.get_docstring(test) or ""
            first = min([test.lineno, *(decorator.lineno for decorator in test.decorator_list)])
            cited += " ".join(line.partition("#")[2] for line in lines[first - 1 : test.end_lineno])
            for number in dict.fromkeys(_numbers(cited)):
                if number in known:
                    found.setdefault(number, []).append(f"{path.relative_to(ROOT / 'tests')}::{test.name}")
    return found


def _numbers(text: str) -> Iterator[str]:
    yield from _RULE.findall(text)
    for kind, first, last in _RANGE.findall(text):
        yield from (f"{kind}-{number:03d}" for number in range(int(first), int(last) + 1))


def _tests(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            yield node


def page() -> str:
    """Return what the page should be."""
    proved = proofs()
    rows = []
    for rule in rules():
        tests = proved.get(rule.number, [])
        names = "<br>".join(f"`{name}`" for name in tests[:SHOWN])
        more = f"<br>and {len(tests) - SHOWN} more" if len(tests) > SHOWN else ""
        proof = names + more or WITHOUT_TEST.get(rule.number, "**no test**")
        text = rule.text.replace("|", "\\|")
        rows.append(f"| {rule.number} | {rule.level} | {rule.source} | {text} | {proof} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""The fuzzer itself, guided by coverage: needs atheris (``requirements-fuzz.txt``)."""

import argparse
import importlib
import shutil
import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]


def main() -> None:
    """Fuzz one target, or look at inputs that were found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=("session", "sasl", "mail"))
    parser.add_argument("--seconds", type=int, default=60, help="how long; 0: until something is found")
    parser.add_argument("--kept", type=Path, default="build/fuzz", help="where inputs are kept, those that fail too")
    parser.add_argument("inputs", nargs="*", type=Path, help="inputs to check instead of fuzzing")
    arguments = parser.parse_args()
    with atheris.instrument_imports(include=["restante"]):
        target = importlib.import_module(f"tests.fuzz.{arguments.target}_target")
    for path in arguments.inputs:
        target.check(path.read_bytes())
        print(f"{path}: nothing found")
    if not arguments.inputs:
        fuzz(target, arguments.seconds, arguments.kept / arguments.target)


def fuzz(target: object, seconds: int, kept: Path) -> None:
    """Fuzz with the seeds and tokens of the target, and with what was worth keeping the last time."""
    seeds, tokens, check = (getattr(target, name) for name in ("seeds", "TOKENS", "check"))
    started, corpus, dictionary = kept / "seeds", kept / "corpus", kept / "dictionary"
    shutil.rmtree(started, ignore_errors=True)
    started.mkdir(parents=True)
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds()):
        (started / str(number)).write_bytes(seed)
    lines = ['"' + "".join(f"\\x{octet:02x}" for octet in token) + '"\n' for token in tokens if len(token) < 64]
    dictionary.write_text("".join(lines))
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"]
    options = [f"-dict={dictionary}", f"-artifact_prefix={kept}/", "-print_final_stats=1", *limits]
    atheris.Setup([sys.argv[0], *options, str(corpus), str(started)], check)
    atheris.Fuzz()


main()

"""LANG: conformance section 9 (P-260 to P-262) and P-015; every text in every language."""

import ast
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import restante
from restante.errors import AuthenticationFailed, Condition, MaildropInUse, NeedsUtf8, TemporaryFailure, Text
from restante.protocol.events import Login, Retrieve
from restante.protocol.languages import LANGUAGES, Language, matching
from restante.protocol.policy import Features, Terms
from restante.protocol.replies import Replies
from restante.protocol.sasl import MECHANISMS
from tests.protocol.driver import World

MAIL = b"Subject: x\n\nbody\n"
LIST = "+OK languages follow\r\nen English\r\nde Deutsch\r\nfr Fran\u00e7ais\r\n.\r\n".encode()


@pytest.mark.parametrize("line", [b"LANG\r\n", b"lang \r\n"])
def test_the_list(line: bytes) -> None:
    """P-260: tags with names, in both states."""
    world = World(MAIL)
    assert world.send(line) == LIST
    assert world.login().send(line) == LIST


def test_a_language_counts_from_its_own_reply_on() -> None:
    """P-260: +OK, the tag, a text; in both states, and over the login."""
    world = World(MAIL)
    assert world.send(b"LANG de\r\n") == b"+OK de Antworten sind jetzt auf Deutsch\r\n"
    assert world.send(b"USER bob\r\n") == b"+OK bitte PASS\r\n"
    assert world.send(b"PASS secret\r\n") == b"+OK 1 Nachrichten (20 Oktette)\r\n"
    assert world.send(b"lang fr\r\n").startswith("+OK fr les r\u00e9ponses".encode())
    assert world.send(b"RETR 2\r\n").startswith(b"-ERR ")
    assert world.send(b"LANG EN\r\n") == b"+OK en replies are in English now\r\n"
    assert world.send(b"NOOP\r\n") == b"+OK nothing done\r\n"


def test_what_programs_read_is_the_same_in_every_language() -> None:
    """P-262, P-072, P-077: numbers, ids, capabilities and codes are not translated."""
    for tag in LANGUAGES:
        world = World(MAIL)
        world.send(b"LANG %b\r\n" % tag.encode())
        world.conditions[Login] = MaildropInUse()
        assert world.send(b"USER bob\r\nPASS secret\r\n").rpartition(b"-ERR ")[2].startswith(b"[IN-USE] ")
        world.conditions.clear()
        world.login()
        assert world.send(b"STAT\r\nLIST 1\r\nUIDL 1\r\n") == b"+OK 1 20\r\n+OK 1 20\r\n+OK 1 id-1\r\n"
        assert world.send(b"CAPA\r\n").partition(b"\r\n")[2] == World(MAIL).send(b"CAPA\r\n").partition(b"\r\n")[2]
        world.conditions[Retrieve] = NeedsUtf8("x")
        assert world.send(b"RETR 1\r\n").startswith(b"-ERR [UTF8] ")


@pytest.mark.parametrize("tag", ["de", "fr"])
def test_no_english_word_in_the_middle(tag: str) -> None:
    """P-260: where there is nothing to enumerate."""
    world = World(terms=Terms(tls="TLSv1.3"))
    world.send(b"LANG %b\r\n" % tag.encode())
    assert b"none" not in world.send(b"AUTH PLAIN\r\n")


@pytest.mark.parametrize(
    "wanted", ["nl", "xx-YY", "d", "deu", "de-", "de--x", "-de", "english", "*-de", "i-default", "**", "de_AT", "fr-!"]
)
def test_an_unknown_language_changes_nothing(wanted: str) -> None:
    """P-260."""
    world = World(MAIL)
    world.send(b"LANG de\r\n")
    assert (
        world.send(b"LANG %b\r\n" % wanted.encode())
        == b"-ERR diese Sprache gibt es hier nicht; es gibt en, de, fr und *\r\n"
    )
    assert world.send(b"USER bob\r\n") == b"+OK bitte PASS\r\n"


@pytest.mark.parametrize(
    ("wanted", "tag"), [("de-AT", "de"), ("DE-at", "de"), ("fr-CA-x-1", "fr"), ("en-GB", "en"), ("Fr", "fr")]
)
def test_ranges_match_by_their_first_part(wanted: str, tag: str) -> None:
    """P-260, RFC 4647: the reply names the tag that was chosen."""
    language = matching(wanted)
    assert language is not None
    assert language.tag == tag
    assert World().send(b"LANG %b\r\n" % wanted.encode()).startswith(b"+OK %b " % tag.encode())


@pytest.mark.parametrize("site", list(LANGUAGES))
def test_the_default_of_the_site(site: str) -> None:
    """P-260, P-261: whoever is about to log in; a session that has said nothing is answered in English (P-015)."""
    features = Features("mail.example.org", language=site)
    replies = set()
    for user in (b"bob", b"nobody"):
        world = World(MAIL, features=features)
        assert world.send(b"USER " + user + b"\r\n") == b"+OK send PASS\r\n"
        replies.add(world.send(b"LANG *\r\n"))
    assert len(replies) == 1
    assert replies.pop().startswith(b"+OK %b " % site.encode())


def test_without_lang_all_is_ascii() -> None:
    """P-015."""
    for text in templates():
        assert text.isascii()
        assert text.isprintable()


@pytest.mark.parametrize("line", [b"LANG de fr", b"LANG \xc3\xa4", b"LANG d\xe9"])
def test_malformed_arguments(line: bytes) -> None:
    """P-006, P-018."""
    world = World()
    assert world.send(line + b"\r\n").startswith(b"-ERR ")
    assert world.send(b"LANG\r\n") == LIST


def test_a_text_that_is_too_long_is_cut_where_a_character_ends() -> None:
    """P-262, P-009: octets, not characters; the same for a code in front of it."""

    class Long(TemporaryFailure):
        reply = Text("x" + "\u00e4" * 400)

    class Even(TemporaryFailure):
        reply = Text("\u00e4" * 400)

    for condition in (Long(), Even()):
        replies = Replies(LANGUAGES["en"])
        replies.error(condition)
        octets = b"".join(replies.take())
        assert 511 <= len(octets) <= 512
        assert octets.endswith(b"\r\n")
        assert octets.decode().startswith("-ERR [SYS/TEMP] ")


def test_the_longest_replies_fit() -> None:
    """P-262, P-009: in every language, with everything that a text can be completed with at its longest."""
    longest: dict[str, int | str] = {
        "hostname": "h" * 253,
        "timestamp": f"<{'0' * 64}@>",
        "names": " ".join(MECHANISMS),
        "commands": "USER PASS APOP AUTH STLS UTF8 LANG CAPA QUIT STAT LIST",
        "tags": ", ".join(LANGUAGES),
        "mechanism": max(MECHANISMS, key=len),
        "tag": "en",
    }
    number = 10**19
    for template in templates():
        for language in LANGUAGES.values():
            keys = fields(template)
            values: dict[str, int | str | Text] = {key: longest.get(key, number) for key in keys}
            if "numbers" in keys:
                values["numbers"] = Text("1 to {last}", {"last": number})
            if "help" in keys:
                values["help"] = Text("POP3 commands now: {commands}", {"commands": longest["commands"]})
            said = language.say(Text(template, values))
            assert len(f"-ERR [LOGIN-DELAY] {said}\r\n".encode()) <= 512
            assert said.isprintable()
            assert not said.startswith("[")


# -- catalogues and the code ------------------------------------------------------------------------

SOURCE = Path(restante.__file__).parent
SPEAKING = {"ok", "CommandError", "NoSuchMessage", "Text", "Command"}
"""Calls that are given a text for a peer; `Command` has it in the fourth place, the others in the first."""


def argument(call: ast.Call, *, raises: bool) -> ast.expr | None:
    """Return the argument of a call that is a text, None if it has none.

    Args:
        raises: the module has classes of errors of its own, maybe.
    """
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "Command":
        return call.args[3]
    if call.args and (name in SPEAKING or (name == "__init__" and raises)):
        return call.args[0]
    return None


def constants(node: ast.expr) -> Iterator[str]:
    """All texts that an expression can be; one that is composed elsewhere is found where it is composed."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)
    else:
        assert isinstance(node, (ast.Name, ast.Attribute)), f"line {node.lineno}: a text must be a constant"


def texts_in(source: str) -> Iterator[str]:
    """All texts that a module has for peers.

    A variable that is spoken later counts too: what is assigned to a name that is given to such a call.
    """
    tree = ast.parse(source)
    spoken: set[str] = set()
    for node in ast.walk(tree):
        text = argument(node, raises="CommandError" in source) if isinstance(node, ast.Call) else None
        if text is not None:
            yield from constants(text)
            spoken |= {name.id for name in ast.walk(text) if isinstance(name, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Constant, ast.IfExp)):
            names = {name.id for name in node.targets if isinstance(name, ast.Name)}
            if names & spoken:
                yield from constants(node.value)


def templates() -> set[str]:
    """All texts of the protocol and of the conditions."""
    modules = [SOURCE / "errors.py", *(SOURCE / "protocol").rglob("*.py")]
    return {text for path in modules for text in texts_in(path.read_text(encoding="utf-8"))}


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


NOT_TRANSLATED = {
    "{hostname} POP3 server ready; HELP lists the commands",  # nobody has said LANG yet
    "POP3 server ready; HELP lists the commands {timestamp}",
    "{help}",
}
OTHERS = [language for language in LANGUAGES.values() if language.tag != "en"]


def problems(said: set[str], catalogue: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with a catalogue for these texts."""
    for template in sorted(said - set(catalogue)):
        yield f"no entry: {template}"
    for template in sorted(set(catalogue) - said):
        yield f"nobody says: {template}"
    for template, translation in catalogue.items():
        if fields(template) != fields(translation):
            yield f"other values: {translation}"
        if not translation.isprintable() or not translation.strip():
            yield f"not printable: {translation!r}"
        if translation.startswith("["):  # P-160
            yield f"begins like a response code: {translation}"


@pytest.mark.parametrize("language", OTHERS, ids=lambda language: language.tag)
def test_every_text_is_in_every_catalogue(language: Language) -> None:
    """P-260, P-160: and there are no others."""
    assert list(problems(templates() - NOT_TRANSLATED, language.catalogue)) == []


def test_every_condition_has_a_text_of_its_own_or_inherits_one() -> None:
    """P-175, P-181: no text begins like a code, and there are no codes but the registered ones."""
    codes = {"", "AUTH", "IN-USE", "LOGIN-DELAY", "SYS/TEMP", "SYS/PERM", "UTF8"}
    kinds = [Condition]
    for kind in kinds:
        if kind.__module__.startswith("restante."):
            kinds.extend(kind.__subclasses__())
            assert kind.code in codes
            assert not kind.reply.template.startswith("[")
    assert AuthenticationFailed in kinds


def test_the_test_sees_what_it_should() -> None:
    """A text that is found nowhere else is found here, in each of the ways in which one can be said."""
    source = """
from x import CommandError
class A(CommandError):
    reply = Text("one")
    def __init__(self):
        super().__init__("two")
def f(replies):
    later = "three"
    later += "{x}"
    replies.ok(later, x=1)
    raise CommandError("four" if x else "five", a=Text("six"))
TABLE = {b"X": Command(f, 0, 0, "seven"), b"Y": NoSuchMessage("eight")}
"""
    assert set(texts_in(source)) >= {"one", "two", "three", "four", "five", "six", "seven", "eight"}
    with pytest.raises(AssertionError, match="a text must be a constant"):
        list(texts_in('raise CommandError(f"{x}")'))
    found = list(problems({"a {x}", "b", "c", "d"}, {"a {x}": "a {y}", "b": "[b]", "c": "c\x1b", "e": "e"}))
    assert found == [
        "no entry: d",
        "nobody says: e", "other values: a {y}", "begins like a response code: [b]",
        "not printable: 'c\\x1b'",
    ]  # fmt: skip


def test_greetings_that_are_as_long_as_names_can_be() -> None:
    """P-023, P-009: APOP's timestamp is whole, or it would be of no use (P-060)."""
    name = "h" * 255
    world = World(terms=Terms(apop=True), features=Features(name))
    assert len(world.greeting) <= 512
    assert world.greeting.endswith(b">\r\n")

"""The configuration file: what it means, and one line for each mistake."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from restante.auth import Password, Principal
from restante.authenticators import schemes
from restante.authenticators.chain import Chain
from restante.authenticators.passwd_file import PasswdFile
from restante.config import Configuration, ConfigurationError, find
from restante.errors import TemporaryFailure
from restante.server.addresses import Address
from restante.server.listener import Listener
from restante.server.service import Door, Limits
from restante.stores import flushing, systems
from restante.stores.maildir import MaildirStore
from restante.stores.memory import MemoryStore
from tests.certificates import certificate
from tests.stores.test_contract import deliver

VALID = """\
# The example of the documentation.
hostname = "mail.example.org"       # in the greeting
workers  = 2                        # processes

[[listener]]
protocol = "pop3"
address  = "127.0.0.1:1110"
tls      = "none"
cleartext_login = "loopback"

[[listener]]
protocol = "pop3"
address  = "[::1]:1110"
cleartext_login = "never"

[[listener]]
protocol = "pop3"
address  = "unix:run/pop3.sock"
tls      = "implicit"

[tls]
certificate = "tls/cert.pem"        # full chain
key         = "tls/key.pem"

[[auth]]                            # asked in order
kind = "passwd-file"
path = "users"

[[auth]]
kind = "passwd-file"
path = "/srv/more-users"
threads = 3

[store]
kind = "maildir"
path = "mail/{domain}/{local}"
undo = "7d"

[limits]
idle_timeout = 600                  # seconds
failure_delay = 0.5
login_attempts = 3
stop_grace = 20
"""

SMALL = """\
[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"
[[auth]]
kind = "passwd-file"
path = "users"
[store]
kind = "maildir"
path = "mail/{user}"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restante.toml"


def read(path: Path, text: str | bytes) -> Configuration:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Configuration(path)


def mistake(path: Path, text: str | bytes, line: int | None = None) -> str:
    """Return what is said about a faulty file, without the place.

    Args:
        path: where to put it.
        text: what is in it.
        line: the line with the mistake; default: the one with the comment ``HERE``.
    """
    octets = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigurationError) as caught:
        read(path, octets)
    if line is None:
        assert octets.count(b"HERE") == 1
        line = octets[: octets.index(b"HERE")].count(b"\n") + 1
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    place, _, problem = said.partition(": ")
    assert place == f"{path}:{line}", said
    return problem


def change(old: str, new: str, text: str = SMALL) -> str:
    """Return a valid file with one change; the lines of `new` that matter say HERE."""
    assert text.count(old) == 1
    return text.replace(old, new)


# -- what is right ----------------------------------------------------------------------------------


def test_the_whole_example(path: Path) -> None:
    """Design, section 3: every key arrives where it belongs; relative paths are relative to the file."""
    folder = path.parent
    pair = certificate("mail.example.org")
    (folder / "tls").mkdir()
    for name, pem in (("cert.pem", pair.chain), ("key.pem", pair.key)):
        (folder / "tls" / name).write_bytes(pem)
    configuration = read(path, VALID)
    assert configuration.hostname == "mail.example.org"
    assert configuration.workers == 2
    assert configuration.listeners == [
        Listener(Address("127.0.0.1", 1110), Door("none", "loopback")),
        Listener(Address("::1", 1110), Door("starttls", "never")),
        Listener(Address("", 0, str(folder / "run/pop3.sock")), Door("implicit")),
    ]
    assert configuration.passwd_files == [folder / "users", Path("/srv/more-users")]
    assert [type(table) for table in configuration.authenticators] == [PasswdFile, PasswdFile]
    assert isinstance(configuration.store, MaildirStore)
    assert configuration.store.folder("bob@example.org").path == str(folder / "mail/example.org/bob")
    service = configuration.service()
    assert service.features.hostname == "mail.example.org"
    assert service.certificates is configuration.certificates
    assert isinstance(service.authenticator, Chain)
    assert service.store is configuration.store
    assert (service.limits.idle_timeout, service.limits.patience.delay) == (600, 0.5)
    assert (service.features.limits.login_attempts, service.limits.stop_grace) == (3, 20)


def test_defaults(path: Path) -> None:
    """A small file: a worker for each core, the machine's name, limits as the protocol asks for (P-138)."""
    configuration = read(path, SMALL)
    assert configuration.hostname
    assert configuration.workers == os.cpu_count()
    assert configuration.listeners == [Listener(Address("127.0.0.1", 0), Door())]
    service = configuration.service()
    assert service.authenticator is configuration.authenticators[0]
    assert service.limits == Limits()
    assert service.limits.idle_timeout >= 600


@pytest.mark.parametrize(
    "text",
    [
        'listener = [{ protocol = "pop3", address = "127.0.0.1:0" }]\n'
        'auth = [{ kind = "passwd-file", path = "users" }]\n'
        'store = { kind = "maildir", path = "mail/{user}" }\n',
        'store.kind = "maildir"\nstore.path = "mail/{user}"\n'
        '[[listener]]\nprotocol = "pop3"\naddress = "127.0.0.1:0"\n[[auth]]\nkind = "passwd-file"\npath = "users"\n',
        '[ store ] # x\n"kind" = "maildir"\n\'path\' = "mail/{user}"\n'
        '[[ "listener" ]]\nprotocol = "pop3"\naddress = "127.0.0.1:0"\n[["auth"]]\nkind="passwd-file"\npath="users"\n',
        SMALL.replace("\n", "\r\n"),
        SMALL.rstrip("\n"),
        SMALL + '# adress = "x"\n#[nothing]\n',
    ],
    ids=["inline tables", "dotted keys", "quoted keys", "CRLF", "no final newline", "comments"],
)
def test_other_ways_to_write_the_same(path: Path, text: str) -> None:
    """All that TOML allows."""
    configuration = read(path, text)
    assert configuration.listeners == [Listener(Address("127.0.0.1", 0), Door())]
    assert configuration.passwd_files == [path.parent / "users"]
    assert isinstance(configuration.store, MaildirStore)
    assert configuration.store.folder("bob").path == str(path.parent / "mail/bob")


def test_one_process_for_a_store_in_memory(path: Path) -> None:
    configuration = read(path, change('kind = "maildir"\npath = "mail/{user}"', 'kind = "memory"'))
    assert isinstance(configuration.store, MemoryStore)
    assert configuration.workers == 1


@pytest.mark.parametrize(
    ("lines", "first_line"),
    [
        ('quota = "3K"', b"3072S"),
        ('quota = "1G"\nquota_messages = 5', b"1073741824S,5C"),
        ("quota_messages = 2", b"2C"),
    ],
)
def test_quotas(path: Path, lines: str, first_line: bytes) -> None:
    """M-016: what the site says is what the Maildir gets."""
    store = read(path, SMALL + lines + "\n").store
    (path.parent / "mail").mkdir()

    asyncio.run(deliver(store, b"x\r\n"))
    assert (path.parent / "mail/bob/maildirsize").read_bytes().splitlines()[0] == first_line


@pytest.mark.parametrize(("table", "flushes"), [("", 0), ('durability = "always"', 0), ('durability = "group"', 2)])
def test_durability(path: Path, monkeypatch: pytest.MonkeyPatch, table: str, flushes: int) -> None:
    """D-004: each delivery has its own flushes unless they are to be shared."""
    if why := flushing._why_not(str(path.parent)):
        pytest.skip(f"no shared flushes here: {why}")
    calls = []

    def syncfs(descriptor: int) -> int:
        calls.append(descriptor)
        return 0

    monkeypatch.setattr(systems, "syncfs", syncfs)
    (path.parent / "mail").mkdir()
    asyncio.run(deliver(read(path, SMALL + table + "\n").store, b"one\r\n"))
    assert len(calls) == flushes


def test_a_file_that_must_exist(path: Path) -> None:
    """Field notes 4.2: without it no maildrop is empty, it is out of reach."""
    store = read(path, SMALL + 'must_exist = "mail/.mounted"\n').store
    (path.parent / "mail").mkdir()
    with pytest.raises(TemporaryFailure, match=r"mail/\.mounted: must exist, and is missing"):
        asyncio.run(store.open(Principal("bob")))
    assert list((path.parent / "mail").iterdir()) == []
    (path.parent / "mail/.mounted").touch()
    asyncio.run(store.open(Principal("bob")))


@pytest.mark.parametrize("undo", ["0", "90s", "30m", "12h", "7d", "2w"])
def test_durations(path: Path, undo: str) -> None:
    assert isinstance(read(path, SMALL + f'undo = "{undo}"\n').store, MaildirStore)


@pytest.mark.parametrize("value", ["600", "600.5", "86400"])
def test_idle_timeouts(path: Path, value: str) -> None:
    """P-138: 600 seconds are the least."""
    assert read(path, SMALL + f"[limits]\nidle_timeout = {value}\n").service().limits.idle_timeout == float(value)


def test_find(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was asked for, or restante.toml of the current folder; else a line that says what to do."""
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr("restante.config.DEFAULT_FILES", (Path("restante.toml"), path.parent / "etc.toml"))
    with pytest.raises(ConfigurationError, match=r"^no configuration: .*--config.*restante init DIR"):
        find(None)
    (path.parent / "etc.toml").touch()
    assert find(None) == path.parent / "etc.toml"
    path.touch()
    assert find(None) == Path("restante.toml")
    assert find(Path("other.toml")) == Path("other.toml")


# -- reading it again -------------------------------------------------------------------------------


def test_a_second_reading_keeps_what_has_not_changed(path: Path) -> None:
    """Open maildrops above all: the store stays the same object until its table changes."""
    first = read(path, SMALL)
    path.write_text(SMALL + "[limits]\nidle_timeout = 900\n", encoding="ascii")
    second = Configuration(path, previous=first)
    assert second.store is first.store
    assert second.authenticators is first.authenticators
    assert second.passwd_files == first.passwd_files
    assert second.service().limits.idle_timeout == 900
    path.write_text(SMALL.replace("mail/", "post/").replace('"users"', '"others"'), encoding="ascii")
    third = Configuration(path, previous=second)
    assert third.store is not first.store
    assert third.authenticators[0] is not first.authenticators[0]
    assert third.passwd_files == [path.parent / "others"]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The outcomes of the verifications, in order."""
    done: list[bool] = []
    original = schemes.Hash.matches

    def matches(stored: schemes.Hash, password: bytes) -> bool:
        done.append(original(stored, password))
        return done[-1]

    monkeypatch.setattr(schemes.Hash, "matches", matches)
    return done


def with_bob(path: Path) -> None:
    (path.parent / "users").write_text(f"bob:{schemes.make(b'b', 'SCRAM-SHA-1')}\n", encoding="ascii")


def log_in(configuration: Configuration, times: int = 1) -> None:
    async def all_of_them() -> None:
        for _ in range(times):
            principal = await configuration.authenticators[0].authenticate(Password("bob", b"b"))
            assert principal == Principal("bob")

    asyncio.run(all_of_them())


@pytest.mark.parametrize(("key", "count"), [("", 1), ("remember = 0", 3), ("remember = 0.0", 3), ("remember = 60", 1)])
def test_how_long_logins_are_remembered(path: Path, hashed: list[bool], key: str, count: int) -> None:
    """P-290: by default the second login is not hashed; with 0 each is."""
    with_bob(path)
    log_in(read(path, change('path = "users"', f'path = "users"\n{key}')), times=3)
    assert hashed == [True] * count


def test_a_second_reading_keeps_the_logins(path: Path, hashed: list[bool]) -> None:
    """P-290: SIGHUP does not make everybody's password be hashed anew, until the table itself changes."""
    with_bob(path)
    first = read(path, SMALL)
    log_in(first)
    path.write_text(SMALL + "[limits]\nidle_timeout = 900\n", encoding="ascii")
    second = Configuration(path, previous=first)
    log_in(second)
    assert hashed == [True]
    path.write_text(change('path = "users"', 'path = "users"\nremember = 0'), encoding="ascii")
    log_in(Configuration(path, previous=second), times=2)
    assert hashed == [True] * 3


# -- what is wrong: keys ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('hostnam = "x"  # HERE\n' + SMALL, 'unknown key "hostnam"; did you mean "hostname"?'),
        ("\n\nworker = 2  # HERE\n" + SMALL, 'unknown key "worker"; did you mean "workers"?'),
        ("zzz = 2  # HERE\n" + SMALL, 'unknown key "zzz"; right are: hostname, workers, listener,'),
        (SMALL + "[limit] # HERE\nidle_timeout = 600\n", 'unknown key "limit"; did you mean "limits"?'),
        (
            SMALL + '# adress = "comment"\n[[listener]]\nprotocol = "pop3"\nadress = "x" # HERE\n',
            'unknown key "adress" in [listener]; did you mean "address"?',
        ),
        (
            SMALL + "[tls]\ncertificat = 'x' # HERE\nkey = 'y'\n",
            'unknown key "certificat" in [tls]; did you mean "cert',
        ),
        (SMALL + 'pth = "x" # HERE\n', 'unknown key "pth" in [store]; did you mean "path"?'),
        (SMALL + '[[auth]]\nkind = "passwd-file"\npathh = "x" # HERE\n', 'unknown key "pathh" in [auth]; did you mean'),
        (SMALL + "[limits]\nidle_timeot = 1 # HERE\n", 'unknown key "idle_timeot" in [limits]; did you mean "idle_tim'),
        (SMALL + "[store.sub] # HERE\nx = 1\n", 'unknown key "sub" in [store]'),
        ("limits.idletimeout = 600 # HERE\n" + SMALL, 'unknown key "idletimeout" in [limits]; did you mean "idle_t'),
        ("limits = { idletimeout = 600 } # HERE\n" + SMALL, 'unknown key "idletimeout" in [limits]; did you mean'),
        (change('kind = "maildir"\npath = "mail/{user}"', 'kind = "memory"\npath = "x" # HERE'), 'unknown key "path"'),
    ],
)
def test_unknown_keys(path: Path, text: str, said: str) -> None:
    """Design, section 3: an unknown key is an error that names file, line and the nearest right key."""
    assert mistake(path, text).startswith(said)


def test_the_unknown_key_of_the_right_one_of_several_tables(path: Path) -> None:
    """Not the comment, not the same word in another table, not a value that looks like it."""
    text = """\
# adress = "comment"
hostname = "adress"
[[listener]]
protocol = "pop3"
address = "127.0.0.1:0"  # adress = 1
[[listener]]
# adress = "comment"
protocol = "pop3"
address = "127.0.0.1:0"
adress = "127.0.0.1:0"  # HERE
[[listener]]
protocol = "pop3"
adress = "127.0.0.1:0"
"""
    assert mistake(path, text).startswith('unknown key "adress"')


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[[listener]]\nprotocol", "[[listener]] # HERE\n# protocol", "protocol"),
        ("[[listener]]\n", "[[listener]] # HERE\n#", "protocol"),
        ("[[auth]]\nkind", "[[auth]] # HERE\n# kind", "kind is missing"),
        ('[store]\nkind = "maildir"\npath', '[store] # HERE\nkind = "maildir"\n# path', "path"),
        ("[store]\nkind", "[store] # HERE\n# kind", "kind is missing"),
        ("[store]\n", '[tls] # HERE\nkey = "x"\n[store]\n', "certificate"),
    ],
)
def test_missing_keys(path: Path, old: str, new: str, said: str) -> None:
    """The line is that of the table that ought to hold the key; the text names the key."""
    assert said in mistake(path, change(old, new))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no [[listener]]"),
        ("# nothing\n", "no [[listener]]"),
        (SMALL[: SMALL.index("[[auth]]")], "no [[auth]]"),
        (SMALL[: SMALL.index("[store]")], "no [store]"),
    ],
)
def test_missing_tables(path: Path, text: str, said: str) -> None:
    assert mistake(path, text, line=1).startswith(said)


# -- what is wrong: values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hostname = 7 # HERE\n" + SMALL, 'hostname: Expected "str", got "int"'),
        ("hostname = 1979-05-27 # HERE\n" + SMALL, 'hostname: Expected "str", got "date"'),
        ('hostname = "a b" # HERE\n' + SMALL, 'hostname: "a b" is no host name'),
        ('hostname = "[AUTH]" # HERE\n' + SMALL, 'hostname: "[AUTH]" is no host name'),  # P-160
        ("workers = 0 # HERE\n" + SMALL, 'workers: Expected "int" >= 1'),
        ("workers = 257 # HERE\n" + SMALL, 'workers: Expected "int" <= 256'),
        ("workers = 99999999999999999999 # HERE\n" + SMALL, 'workers: Expected "int" <= 256'),
        ("workers = 1.5 # HERE\n" + SMALL, "workers: Expected"),
        ("workers = true # HERE\n" + SMALL, "workers: Expected"),
        ('listener = "x" # HERE\n', 'listener: Expected "array", got "str"'),
        (change("[[listener]]", "[listener] # HERE"), 'listener: Expected "array", got "object"'),
        (change("[[auth]]", "[auth] # HERE"), 'auth: Expected "array", got "object"'),
        (SMALL + "[limits]\nidle_timeout = 599 # HERE\n", 'idle_timeout: Expected "float" >= 600'),
        (SMALL + "[limits]\nidle_timeout = 599.9 # HERE\n", 'idle_timeout: Expected "float" >= 600'),
        (SMALL + "[limits]\nidle_timeout = nan # HERE\n", 'idle_timeout: Expected "float" >= 600'),
        (SMALL + "[limits]\nidle_timeout = inf # HERE\n", 'idle_timeout: Expected "float" <= 86400'),
        (SMALL + '[limits]\nidle_timeout = "600" # HERE\n', 'idle_timeout: Expected "float", got "str"'),
        ("limits.idle_timeout = 599 # HERE\n" + SMALL, 'idle_timeout: Expected "float" >= 600'),
        ("limits = { stop_grace = 1, idle_timeout = 599 } # HERE\n" + SMALL, 'idle_timeout: Expected "float" >= 600'),
        (SMALL + "[limits]\nfailure_delay = 61 # HERE\n", 'failure_delay: Expected "float" <= 60'),
        (SMALL + "[limits]\nlogin_attempts = 0 # HERE\n", 'login_attempts: Expected "int" >= 1'),
        (SMALL + "[limits]\nstop_grace = -1 # HERE\n", 'stop_grace: Expected "float" >= 0'),
        (SMALL + "undo = 7 # HERE\n", 'undo: Expected "str", got "int"'),
        (SMALL + 'undo = "7 d" # HERE\n', 'undo: "7 d" is no duration; right are "7d", "12h", "30m", "90s" and "0"'),
        (SMALL + 'undo = "7" # HERE\n', 'undo: "7" is no duration; right are "7d", "12h", "30m", "90s" and "0"'),
        (SMALL + 'undo = "-7d" # HERE\n', 'undo: "-7d" is no duration; right are'),
        (SMALL + 'quota = "1 G" # HERE\n', 'quota: "1 G" is no number of octets; right are "500M", "2G" and "100000"'),
        (SMALL + 'quota = "-1" # HERE\n', 'quota: "-1" is no number of octets'),
        (SMALL + "quota_messages = -1 # HERE\n", 'quota_messages: Expected "int" >= 0'),
        (SMALL + 'durability = "never" # HERE\n', 'durability: "never"'),
        (SMALL + 'undo = "" # HERE\n', 'undo: "" is no duration; right are'),
        (change('path = "users"', 'path = "users"\nthreads = -1 # HERE'), 'threads: Expected "int" >= 0'),
        (change('path = "users"', 'path = "users"\nremember = -1 # HERE'), 'remember: Expected "float" >= 0'),
        (change('path = "users"', 'path = "users"\nremember = 3601 # HERE'), 'remember: Expected "float" <= 3600'),
        (change('path = "users"', 'path = "users"\nremember = nan # HERE'), 'remember: Expected "float" >= 0'),
        (change('path = "users"', 'path = "users"\nremember = "10m" # HERE'), 'remember: Expected "float", got "str"'),
        (change('path = "users"', "path = 7 # HERE"), 'path: Expected "str", got "int"'),
        (
            change('"passwd-file"', '"ldap" # HERE'),
            'kind "ldap" is not known; right are "passwd-file", "oauth", "anonymous", or "module:Class"',
        ),
        (
            change('"passwd-file"', "7 # HERE"),
            'kind "7" is not known; right are "passwd-file", "oauth", "anonymous", or "module:Class"',
        ),
        (change('"maildir"', '"mh" # HERE'), 'kind "mh" is not known; right are "maildir", "mbox", "memory", or "mod'),
        (change('"127.0.0.1:0"', '"127.0.0.1" # HERE'), "address: '127.0.0.1' is no address; right are \"host:port\""),
        (change('"127.0.0.1:0"', '"localhosts:0" # HERE'), "address: 'localhosts' is no IP address; right are"),
        (change('"127.0.0.1:0"', '"127.0.0.1:70000" # HERE'), "address: '127.0.0.1:70000' is no address; right are"),
        (change('"127.0.0.1:0"', "1110 # HERE"), 'address: Expected "str", got "int"'),
        (change("{user}", '{name}" # HERE"'), "path: {name} stands for nothing; right are {user}, {local}, {domain}"),
        (change("{user}", '{user}/{}" # HERE"'), "path: {} stands for nothing; right are {user}, {local}, {domain}"),
        (change("{user}", '{user" # HERE"'), "path: { stands for nothing; right are {user}, {local}, {domain}"),
        (change("{user}", '{user}}" # HERE"'), "path: } stands for nothing; right are {user}, {local}, {domain}"),
        (change("{user}", 'all" # HERE"'), "path: without {user} or {local} all users share one maildrop"),
        (change("{user}", '{domain}" # HERE"'), "path: without {user} or {local} all users share one maildrop"),
        (
            "workers = 2 # HERE\n" + change('kind = "maildir"\npath = "mail/{user}"', 'kind = "memory"'),
            "workers: kind =",
        ),
    ],
)
def test_wrong_values(path: Path, text: str, said: str) -> None:
    """The line of the value, its key, and what would be right."""
    assert mistake(path, text).startswith(said)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_tls_needs_a_certificate(path: Path, tls: str) -> None:
    """P-239."""
    said = mistake(path, change('protocol = "pop3"', f'protocol = "pop3"\ntls = "{tls}" # HERE'))
    assert said == f'tls: "{tls}" needs a certificate: a table [tls] with certificate and key'


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ('protocol = "pop" # HERE', ["pop3"]),
        ('protocol = "pop3"\ntls = "off" # HERE', ["none", "starttls", "implicit"]),
        ('protocol = "pop3"\ncleartext_login = "yes" # HERE', ["never", "loopback", "always"]),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(path: Path, line: str, right: list[str]) -> None:
    said = mistake(path, change('protocol = "pop3"', line))
    assert all(f'"{word}"' in said for word in right)


def test_a_wrong_word_for_workers_is_answered_with_the_right_ones(path: Path) -> None:
    assert '"auto"' in mistake(path, 'workers = "all" # HERE\n' + SMALL)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (change("[store]", "[[store]] # HERE"), 'store: Expected "object'),
        (SMALL + "[[limits]] # HERE\nstop_grace = 1\n", 'limits: Expected "object", got "array"'),
        (SMALL + '[[listeners]] # HERE\nprotocol = "pop3"\n', 'unknown key "listeners"; did you mean "listener"?'),
        (SMALL + "sub.key = 1 # HERE\n", 'unknown key "sub" in [store]'),
        (SMALL + "undo.days = 7 # HERE\n", 'undo: Expected "str", got "object"'),
        ("# x\n[hostname.x] # HERE\n" + SMALL, 'hostname: Expected "str", got "object"'),
    ],
)
def test_the_line_of_what_goes_deeper_than_the_key(path: Path, text: str, said: str) -> None:
    """An array of tables, a table or a dotted key where none belongs."""
    assert mistake(path, text).startswith(said)


def test_an_array_of_something_else(path: Path) -> None:
    text = "auth = ['x'] # HERE\n" + change('[[auth]]\nkind = "passwd-file"\npath = "users"\n', "")
    assert mistake(path, text).startswith("auth: ")


def test_an_empty_store(path: Path) -> None:
    assert "kind is missing" in mistake(path, SMALL[: SMALL.index("[store]")] + "[store] # HERE\n")


@pytest.mark.parametrize(
    "text",
    [
        'hostname = "a\\nb" # HERE\n' + SMALL,
        '"host\\nname" = "a" # HERE\n' + SMALL,
        change('"maildir"', '"mail\\ndir" # HERE'),
        change("{user}", '{us\\ner}" # HERE"'),
        SMALL + 'undo = "7\\nd" # HERE\n',
    ],
)
def test_a_line_feed_in_a_value_makes_no_second_line(path: Path, text: str) -> None:
    """One line for each mistake, whatever the file holds."""
    assert mistake(path, text)


@pytest.mark.parametrize(
    "text",
    [
        'hostname = "a\\u001b[31m" # HERE\n' + SMALL,
        change('"pop3"', '"po\\np3" # HERE'),
        change('"127.0.0.1:0"', '"127.0.0.1\\n:0" # HERE'),
    ],
)
def test_controls_in_other_values(path: Path, text: str) -> None:
    assert mistake(path, text)


@pytest.mark.parametrize(
    "text",
    [
        change('path = "users"', 'path = "us\\u0000ers" # HERE'),
        change('"mail/{user}"', '"ma\\u0000il/{user}" # HERE'),
        change('"127.0.0.1:0"', '"unix:a\\u0000b" # HERE'),
    ],
)
def test_no_path_holds_nul(path: Path, text: str) -> None:
    assert mistake(path, text)


# -- what is wrong: the file ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        change('path = "users"', 'path = "users # HERE'),
        change('path = "users"', "path = users # HERE"),
        change('path = "users"', "path users # HERE"),
        change('path = "users"', "path = # HERE"),
        change('path = "users"', 'path = "us\\ers" # HERE'),
        change('path = "users"', 'path = "users"\npath = "again" # HERE'),
        change("[[auth]]", "[[auth] # HERE"),
        change("[store]", "[store # HERE"),
        SMALL + "[store] # HERE\n",
        SMALL + "x = [1, # HERE",
    ],
)
def test_what_is_not_toml(path: Path, text: str) -> None:
    """The line, and how a line ought to look."""
    said = mistake(path, text)
    assert said.startswith("not TOML: ")
    assert said.endswith("a line reads key = value or [table]")


@pytest.mark.parametrize("octet", [b"\xff", b"\xe9", b"\x80"])
def test_what_is_not_utf8(path: Path, octet: bytes) -> None:
    assert mistake(path, SMALL.encode() + b"# caf" + octet + b" HERE\n") == "the file is not UTF-8"


@pytest.mark.parametrize("text", ["workers = " + "[" * 5000, "workers = " + "9" * 5000])
def test_too_much_for_the_parser(path: Path, text: str) -> None:
    assert mistake(path, text, line=1).startswith("not TOML: ")


def test_no_file(path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Configuration(path)
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory"
    with pytest.raises(ConfigurationError) as caught:
        Configuration(path.parent)
    assert str(caught.value) == f"{path.parent}: cannot be read: Is a directory"


# -- classes outside Restante -----------------------------------------------------------------------

_PLUGIN = """
from restante.auth import Principal
from restante.errors import AuthenticationFailed
from restante.stores.memory import MemoryStore
from tests.certificates import certificate

class Table:
    def __init__(self, secret, extra=None):
        self.secret = secret
        self.extra = extra

    async def authenticate(self, credentials):
        if credentials.password.decode() != self.secret:
            raise AuthenticationFailed("no")
        return Principal(credentials.user)

class Store(MemoryStore):
    pass

class Refuses:
    def __init__(self):
        raise ValueError("not today")

class Breaks:
    def __init__(self):
        raise OSError(2, "No such file or directory", "/srv/x")
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of somebody else's."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "their_plugin.py").write_text(_PLUGIN, encoding="ascii")
    (folder / "their_broken_plugin.py").write_text("def (\n", encoding="ascii")
    (folder / "their_failing_plugin.py").write_text("raise RuntimeError('x')\n", encoding="ascii")
    monkeypatch.syspath_prepend(folder)
    for name in ("their_plugin", "their_broken_plugin", "their_failing_plugin"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "their_plugin"


def with_table(lines: str) -> str:
    return change('kind = "passwd-file"\npath = "users"', lines)


async def test_classes_of_others(path: Path, plugin: str) -> None:
    """`kind = "module:Class"`: the other keys of the table are the arguments."""
    text = with_table(f'kind = "{plugin}:Table"\nsecret = "x"\nextra = {{ a = [1, 2] }}')
    text = change('kind = "maildir"\npath = "mail/{user}"', f'kind = "{plugin}:Store"', text)
    configuration = read(path, text)
    table = configuration.authenticators[0]
    assert await table.authenticate(Password("bob", b"x")) == Principal("bob")
    assert getattr(table, "extra", None) == {"a": [1, 2]}
    assert type(configuration.store).__name__ == "Store"
    assert configuration.passwd_files == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('kind = "their_plugin:Tabel" # HERE', "has no attribute 'Tabel'"),
        ('kind = "their_plugin:" # HERE', "cannot be made"),
        ('kind = ":Table" # HERE', "cannot be made"),
        ('kind = "..x:Table" # HERE', "cannot be made"),
        ('kind = "their_missing_plugin:Table" # HERE', "No module named 'their_missing_plugin'"),
        ('kind = "their_plugin:Table" # HERE', "missing 1 required positional argument: 'secret'"),
        ('kind = "their_plugin:Table" # HERE\nsecrets = "x"', "unexpected keyword argument 'secrets'"),
        ('kind = "their_plugin:Refuses" # HERE', "not today"),
        ('kind = "their_plugin:__doc__" # HERE', "not callable"),
    ],
)
def test_classes_of_others_that_cannot_be_made(path: Path, plugin: str, lines: str, said: str) -> None:
    problem = mistake(path, with_table(lines))
    assert problem.startswith("kind: ")
    assert said in problem


@pytest.mark.parametrize(
    "kind", ["their_broken_plugin:Table", "their_failing_plugin:Table", "their_plugin:Breaks"], ids=lambda kind: kind
)
def test_classes_of_others_that_break(path: Path, plugin: str, kind: str) -> None:
    """Whatever a plugin raises when it is loaded or made, the user reads file and line."""
    assert mistake(path, with_table(f'kind = "{kind}" # HERE')).startswith("kind: ")


# -- one character less -----------------------------------------------------------------------------


@given(st.integers(0, len(VALID) - 1))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(VALID.index("\n[store]") + 1)
@example(VALID.index('"7d"'))
@example(VALID.index("[[auth]]"))
def test_one_character_less_is_a_configuration_or_one_line(tmp_path: Path, position: int) -> None:
    """Any deletion of one character leaves a configuration or an error of one line, never another exception."""
    path = tmp_path / "restante.toml"
    path.write_text(VALID[:position] + VALID[position + 1 :], encoding="ascii")
    said = ""
    try:
        Configuration(path)
    except ConfigurationError as error:
        said = str(error)
    if said:
        assert said.startswith(f"{path}:")
        assert said.removeprefix(f"{path}:").partition(":")[0].isdigit()
        assert len(said.splitlines()) == 1

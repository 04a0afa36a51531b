"""``restante adopt``."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from restante.auth import Principal
from restante.cli.adopt_wire import BodyHash, Matching, message
from restante.stores.maildir import MaildirStore
from tests.cli.program import Result, done, post_office, refused, restante
from tests.client.peer import Peer, multi

MESSAGES = {
    f"170000000{number}.M{number}P1.host": b"Subject: %d\nMessage-ID: <%d@x>\n\n%b\n" % (number, number, b"x" * number)
    for number in range(1, 4)
}
UIDLIST = "3 V1234567890 N9 G0123456789abcdef0123456789abcdef\n" + "".join(
    f"{uid} :{name}\n" for uid, name in zip((3, 5, 7), MESSAGES, strict=True)
)
IDS = ["00000003499602d2", "00000005499602d2", "00000007499602d2"]


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """A post office with three messages for bob, password "b"; returns its folder."""
    post_office(tmp_path)
    put(tmp_path, "bob", MESSAGES)
    return tmp_path


def put(office: Path, user: str, messages: dict[str, bytes]) -> Path:
    maildir = office / "mail" / user
    for part in ("tmp", "new", "cur"):
        (maildir / part).mkdir(parents=True, exist_ok=True)
    for name, text in messages.items():
        (maildir / "new" / name).write_bytes(text)
    return maildir


def by_dovecot(office: Path, text: str = UIDLIST, user: str = "bob") -> Path:
    path = office / "mail" / user / "dovecot-uidlist"
    path.write_text(text, encoding="utf-8")
    return path


def by_courier(office: Path) -> None:
    lines = "".join(f"{name}:2, 9 {number}:77:0\n" for number, name in enumerate(MESSAGES, 1))
    (office / "mail" / "bob" / "courierpop3dsizelist").write_text(f"/3 9 77\n{lines}", encoding="utf-8")


def shown(office: Path, user: str = "bob") -> list[str]:
    """Return the ids that a session would show."""

    async def listing() -> list[str]:
        maildrop = await MaildirStore(str(office / "mail" / "{user}")).open(Principal(user))
        try:
            return [one.unique_id for one in maildrop.listing]
        finally:
            await maildrop.close()

    return asyncio.run(listing())


def adopt(office: Path, *arguments: str | Path, stdin: str = "") -> Result:
    return restante("adopt", *arguments, cwd=office, stdin=stdin)


def passwords(office: Path, text: str = "bob:b\n", mode: int = 0o600) -> Path:
    path = office / "passwords"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


# -- from lists -------------------------------------------------------------------------------------


def test_from_dovecot(office: Path) -> None:
    """P-128: nobody has to say that it was Dovecot; new messages get ids from it, too."""
    uidlist = by_dovecot(office)
    out = done(adopt(office))
    assert out == "bob: 3 messages have the ids of Dovecot, and new ones get the same as there (dovecot)\n"
    assert shown(office) == IDS
    put(office, "bob", {"1700000009.M1P1.host": b"Subject: new\n\nx\n"})
    assert shown(office) == [*IDS, "00000009499602d2"]
    assert uidlist.read_text(encoding="utf-8") == f"{UIDLIST}9 :1700000009.M1P1.host\n"


def test_from_courier(office: Path) -> None:
    by_courier(office)
    assert done(adopt(office, "bob", "--no-follow")) == "bob: 3 messages have the ids of Courier\n"
    assert shown(office) == ["UID1-77", "UID2-77", "UID3-77"]
    put(office, "bob", {"1700000009.M1P1.host": b"Subject: new\n\nx\n"})
    assert shown(office)[-1] == "1700000009.M1P1.host"


def test_a_format(office: Path) -> None:
    """And the order of Dovecot, which need not be that of arrival."""
    by_dovecot(office, UIDLIST.replace("7 :", "7 O1 :"))
    done(adopt(office, "--uidl-format", "%v.%u"))
    assert shown(office) == ["1234567890.7", "1234567890.3", "1234567890.5"]


def test_other_sources(office: Path) -> None:
    put(office, "bob", {"1700000001.M1P1.host": b"X-UIDL: old1\n\nx\n", "1700000002.M2P1.host": b"X-UIDL: old2\n\nx\n"})
    out = done(adopt(office, "--from", "x-uidl"))
    assert out == "bob: 2 messages have the ids of the X-UIDL fields, 1 keeps ours\n"
    assert shown(office) == ["old1", "old2", "1700000003.M3P1.host"]
    assert done(adopt(office, "--from", "filename")) == "bob: 3 messages have the ids of the file names\n"
    assert sorted(shown(office)) == sorted(MESSAGES)


def test_dry_run(office: Path) -> None:
    by_dovecot(office)
    before = shown(office)
    assert "3 messages would have the ids of Dovecot" in done(adopt(office, "--dry-run"))
    assert shown(office) == before
    assert not (office / "mail" / "bob" / "restante" / "ids").exists()


def test_two_lists(office: Path) -> None:
    """Nobody guesses which of them clients have seen last."""
    by_dovecot(office)
    by_courier(office)
    assert "both Dovecot and Courier" in refused(adopt(office))
    done(adopt(office, "--from", "courier"))
    assert shown(office)[0] == "UID1-77"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "neither Dovecot nor Courier has left ids here; 3 messages here"),
        (("--from", "dovecot"), "dovecot-uidlist: Dovecot has left no list of ids here"),
        (("--from", "courier"), "courierpop3dsizelist: Courier has left no list of ids here"),
        (("--from", "x-uidl"), "no message here has a header field X-UIDL"),
    ],
)
def test_nothing_to_take(office: Path, arguments: tuple[str, ...], text: str) -> None:
    line = refused(adopt(office, *arguments))
    assert line.startswith("bob: ")
    assert text in line


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--from", "cyrus"), "--from 'cyrus' is not known; right are dovecot, courier, filename, x-uidl and a URL"),
        (("--content",), "--content and --ours are for --verify"),
        (("--ours", "pop://127.0.0.1:1"), "--content and --ours are for --verify"),
        (("--login", "x"), "--passwords, --password-stdin, --login and --ca are for a server that runs: --from URL"),
    ],
)
def test_options_that_would_be_ignored(office: Path, arguments: tuple[str, ...], text: str) -> None:
    """Whoever forgets --verify must not adopt."""
    assert text in refused(adopt(office, *arguments), 2)
    assert not (office / "mail/bob/restante").exists()


def test_a_user_who_has_no_account(office: Path) -> None:
    """A slip of the pen makes no maildrop."""
    assert refused(adopt(office, "bbo")) == "restante: there is no account bbo"
    assert not (office / "mail/bbo").exists()


def test_an_empty_maildrop(office: Path) -> None:
    """It has nothing to lose."""
    (office / "users").write_text("alice:{PLAIN}a\n", encoding="ascii")
    assert done(adopt(office)) == "alice: no messages, no ids, and nobody to follow\n"


def test_a_damaged_list(office: Path) -> None:
    by_dovecot(office, UIDLIST.replace("5 :", "x :"))
    assert refused(adopt(office)).startswith("bob: mail/bob/dovecot-uidlist:3: a line is like ")
    assert shown(office) == list(MESSAGES)


def test_wrong_formats(office: Path) -> None:
    by_dovecot(office)
    assert "over the wire" in refused(adopt(office, "--uidl-format", "%m"))
    by_courier(office)
    assert "Courier knows no formats" in refused(adopt(office, "--from", "courier", "--uidl-format", "%u"))


def test_ids_that_cannot_be(office: Path) -> None:
    """P-123, P-124: these messages keep ours, and it is said."""
    by_dovecot(
        office, UIDLIST.replace("3 :", "3 Pa\u00e4 :").replace("5 :", f"5 P{'x' * 71} :").replace("7 :", "7 Pgood :")
    )
    result = adopt(office)
    assert result.returncode == 1
    assert result.stdout.startswith("bob: 1 message has the ids of Dovecot, 2 keep ours")
    assert result.stderr.startswith("bob: 2 messages keep ours, no id may look like that: 1 to 70 ")
    assert shown(office) == ["good", "1700000001.M1P1.host", "1700000002.M2P1.host"]


def test_a_session_is_open(office: Path) -> None:
    """P-041: its listing must not change."""
    by_dovecot(office)

    async def held() -> Result:
        maildrop = await MaildirStore(str(office / "mail" / "{user}")).open(Principal("bob"))
        try:
            return await asyncio.to_thread(adopt, office)
        finally:
            await maildrop.close()

    assert "another session has this maildrop open" in refused(asyncio.run(held()))
    assert shown(office) == list(MESSAGES)


def test_several_users(office: Path) -> None:
    """One that fails does not keep the others."""
    (office / "users").write_text("carol:{PLAIN}c\nalice:{PLAIN}a\nbob:{PLAIN}b\n", encoding="ascii")
    put(office, "alice", {"1.a": b"x\n"})
    put(office, "carol", {"1.c": b"x\n"})
    by_dovecot(office)
    by_dovecot(office, "3 V10 N9\n1 :1.c\n", "carol")
    result = adopt(office)
    assert result.returncode == 1
    assert [line.split(",")[0] for line in result.stdout.splitlines()] == [
        "bob: 3 messages have the ids of Dovecot",
        "carol: 1 message has the ids of Dovecot",
    ]
    assert result.stderr == "alice: neither Dovecot nor Courier has left ids here; 1 message here\n"
    assert shown(office, "carol") == ["000000010000000a"]
    assert done(adopt(office, "carol", "bob", "carol")).count("\n") == 2


def test_a_store_that_cannot(office: Path) -> None:
    configuration = office / "restante.toml"
    text = (
        configuration.read_text(encoding="ascii").replace('"maildir"', '"memory"').replace('path = "mail/{user}"', "")
    )
    configuration.write_text(text, encoding="ascii")
    assert refused(adopt(office)) == "bob: this kind of store cannot take over ids"


# -- usage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--verify", "pop://a", "--from", "dovecot"), "one at a time"),
        (("--verify", "a"), "no address of a POP3 server"),
        (("--from", "pop://bob:secret@a"), "holds no password"),
        (("--from", "imap://a"), "not POP3"),
        (("--from", "pop://a", "--uidl-format", "%u", "--password-stdin"), "--uidl-format is for lists"),
        (("alice", "bob", "--from", "pop://a", "--password-stdin"), "a password of its own"),
        (("--verify", "pop://a", "--ours", "b", "--password-stdin"), "no address of a POP3 server"),
    ],
)
def test_wrong_usage(office: Path, arguments: tuple[str, ...], text: str) -> None:
    if "alice" in arguments:
        (office / "users").write_text("alice:{PLAIN}a\nbob:{PLAIN}b\n", encoding="ascii")
    line = refused(adopt(office, *arguments, stdin="b\n"), 2)
    assert text in line
    assert "secret" not in line


@pytest.mark.parametrize(
    ("content", "mode", "text"),
    [
        ("bob:b\n", 0o640, "others can read these passwords; chmod 600"),
        ("bob:b\nalice\n", 0o600, "passwords:2: a line is user:password"),
        ("bob:\n", 0o600, "passwords:1: a line is user:password"),
        ("# none\n\nalice:a\n", 0o600, "bob: no password in the file"),
    ],
)
def test_files_of_passwords(office: Path, content: str, mode: int, text: str) -> None:
    with Peer() as peer:
        path = passwords(office, content, mode)
        assert text in refused(adopt(office, "--from", str(peer.url), "--passwords", path))
    assert b"USER bob" not in peer.heard


def test_passwords_that_are_not_there(office: Path) -> None:
    assert "no terminal" in refused(adopt(office, "--from", "pop://127.0.0.1"))
    assert "is empty" in refused(adopt(office, "--from", "pop://127.0.0.1", "--password-stdin"))
    assert "nowhere: No such file" in refused(adopt(office, "--from", "pop://127.0.0.1", "--passwords", "nowhere"))


def test_ours_has_no_port(office: Path) -> None:
    assert "--ours" in refused(adopt(office, "--verify", "pop://127.0.0.1:1", "--password-stdin", stdin="b\n"))


# -- over the wire ----------------------------------------------------------------------------------

LOGIN = {b"USER": b"+OK\r\n", b"PASS": b"+OK\r\n"}


def wire(text: bytes) -> bytes:
    text = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return text if text.endswith(b"\r\n") else text + b"\r\n"


def replies(
    messages: Sequence[tuple[str, bytes]], *, top: bool = True, sizes: Sequence[int] | None = None
) -> dict[bytes, bytes]:
    """Return what a server says that has these messages, with these ids."""
    texts = [wire(text) for _, text in messages]
    octets = sizes or [len(text) for text in texts]
    said = dict(LOGIN)
    said[b"UIDL"] = multi(*(b"%d %b" % (number, one.encode()) for number, (one, _) in enumerate(messages, 1)))
    said[b"LIST"] = multi(*(b"%d %d" % (number, size) for number, size in enumerate(octets, 1)))
    for number, text in enumerate(texts, 1):
        stuffed = b"\r\n".join(b"." + line if line[:1] == b"." else line for line in text.split(b"\r\n"))
        said[b"RETR %d" % number] = b"+OK\r\n" + stuffed + b".\r\n"
        if top:
            said[b"TOP %d 0" % number] = b"+OK\r\n" + stuffed.partition(b"\r\n\r\n")[0] + b"\r\n\r\n.\r\n"
    return said


def over_the_wire(office: Path, said: dict[bytes, bytes], *arguments: str) -> tuple[Result, list[bytes]]:
    with Peer(said) as peer:
        result = adopt(office, "--from", str(peer.url), "--passwords", passwords(office), *arguments)
    result.stdout, result.stderr = (text.replace(str(peer.url), "THERE") for text in (result.stdout, result.stderr))
    assert peer.heard[-1] == b"QUIT"
    assert not any(line.startswith((b"DELE", b"RSET")) for line in peer.heard)
    return result, peer.heard


OLD = list(zip(["c", "a", "b"], [MESSAGES[name] for name in sorted(MESSAGES, reverse=True)], strict=True))


def test_headers_are_enough(office: Path) -> None:
    """In the order of the old server, without fetching a body."""
    result, heard = over_the_wire(office, replies(OLD))
    assert done(result) == "bob: 3 messages have the ids of THERE\n"
    assert shown(office) == ["c", "a", "b"]
    assert [line for line in heard if line.startswith((b"RETR", b"TOP"))] == [b"TOP 1 0", b"TOP 2 0", b"TOP 3 0"]


def test_without_top(office: Path) -> None:
    """K-005."""
    assert done(over_the_wire(office, replies(OLD, top=False))[0]) == "bob: 3 messages have the ids of THERE\n"
    assert shown(office) == ["c", "a", "b"]


def test_sizes_that_are_wrong(office: Path) -> None:
    """P-081: files counted as they lie on the disk; then the bodies are compared."""
    done(over_the_wire(office, replies(OLD, sizes=[1, 2, 3]))[0])
    assert shown(office) == ["c", "a", "b"]


def test_fields_that_servers_add(office: Path) -> None:
    """And an empty line at the end, as qmail has it."""
    old = [(one, b"Return-Path: <x>\nStatus: RO\nX-UID: 9\n folded\n" + text + b"\n") for one, text in OLD]
    done(over_the_wire(office, replies(old))[0])
    assert shown(office) == ["c", "a", "b"]


def test_copies(office: Path) -> None:
    """Equal headers: told apart by their bodies; copies of one message may have each other's ids."""
    texts = {f"1.{letter}": b"Subject: same\n\n%b\n" % letter.encode() for letter in "xyxz"}
    texts["1.x2"] = texts["1.x"]
    put(office, "bob", texts)
    old = [("id-z", texts["1.z"]), ("id-x1", texts["1.x"]), ("id-y", texts["1.y"]), ("id-x2", texts["1.x"]), *OLD]
    assert done(over_the_wire(office, replies(old))[0]) == "bob: 7 messages have the ids of THERE\n"
    assert shown(office) == ["id-z", "id-x1", "id-y", "id-x2", "c", "a", "b"]


def test_messages_that_one_has_and_not_the_other(office: Path) -> None:
    """Nothing is guessed; what the old server had is said, for a client could miss it."""
    put(office, "bob", {"1800000000.x": b"Subject: ours\n\nx\n"})
    old = [*OLD, ("lost", b"Subject: lost\n\nx\n"), ("like", b"Subject: 1\nMessage-ID: <1@x>\n\nother\n")]
    result, _ = over_the_wire(office, replies(old))
    assert result.returncode == 1
    assert result.stdout == "bob: 3 messages have the ids of THERE, 1 keeps ours\n"
    assert result.stderr == "bob: 2 messages of THERE found no equal here: lost, like\n"
    assert shown(office) == ["c", "a", "b", "1800000000.x"]


def test_equal_ids_of_the_old_server(office: Path) -> None:
    """K-007, P-124."""
    result, _ = over_the_wire(office, replies([(one.replace("b", "a"), text) for one, text in OLD]))
    assert result.returncode == 1
    assert result.stderr == "bob: 1 message keeps ours, the old server gave the id to another one, too: a\n"
    assert shown(office) == ["c", "a", "1700000001.M1P1.host"]


def test_a_dry_run_over_the_wire(office: Path) -> None:
    assert "would have" in done(over_the_wire(office, replies(OLD), "--dry-run")[0])
    assert shown(office) == list(MESSAGES)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (LOGIN | {b"PASS": b"-ERR [AUTH] wrong\r\n"}, "[AUTH] wrong"),
        (LOGIN | {b"PASS": b"-ERR [IN-USE] wait\r\n"}, "[IN-USE] wait"),
        (LOGIN, "unknown"),
        (replies(OLD) | {b"TOP 2 0": b"", b"RETR 2": b""}, "closed the connection"),
    ],
)
def test_an_old_server_that_refuses(office: Path, said: dict[bytes, bytes], text: str) -> None:
    with Peer(said) as peer:
        line = refused(adopt(office, "--from", str(peer.url), "--passwords", passwords(office)))
    assert text in line
    assert shown(office) == list(MESSAGES)


def test_a_master_user(office: Path) -> None:
    """One password for all."""
    (office / "users").write_text("bob:{PLAIN}b\nalice:{PLAIN}a\n", encoding="ascii")
    put(office, "alice", MESSAGES)
    with Peer(replies(OLD)) as peer:
        done(adopt(office, "--from", str(peer.url), "--login", "{user}*master", "--password-stdin", stdin="m p\n"))
    assert [line for line in peer.heard if line.startswith((b"USER", b"PASS"))] == [
        b"USER alice*master", b"PASS m p", b"USER bob*master", b"PASS m p",
    ]  # fmt: skip
    assert shown(office, "alice") == shown(office) == ["c", "a", "b"]


# -- matching ---------------------------------------------------------------------------------------


def test_pairs_by_headers() -> None:
    """A pair needs equal headers and equal sizes of the bodies; everything else is left to the bodies."""
    one = message(1, 30, b"Subject: x\r\n\r\nrest")
    same, longer = message(7, 30, b"Subject: x\r\n\r\n"), message(8, 31, b"Subject: x\r\n")
    marked = message(9, 40, b"Status: R\r\nSubject: x\r\n\r\n")
    matching = Matching([one], [same, longer])
    assert matching.by_headers(lambda it: it.exact) == []
    assert matching.pairs == {1: 7}
    matching = Matching([one], [longer])
    assert len(matching.by_headers(lambda it: it.exact)) == 1
    matching = Matching([one], [marked])
    assert matching.by_headers(lambda it: it.exact) == []
    assert len(matching.by_headers(lambda it: it.loose)) == 1
    assert matching.pairs == {}


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_bodies_in_pieces(size: int) -> None:
    """Line ends at the end do not count, those inside do."""

    def digest(text: bytes) -> bytes:
        body = BodyHash()
        for start in range(0, len(text), size):
            body.feed(text[start : start + size])
        return body.digest()

    head = b"Subject: x\r\n\r\n"
    body = digest(head + b"a\r\n\r\nb")
    assert body == digest(b"Other: y\r\n" + head + b"a\r\n\r\nb\r\n\r\n")
    assert body != digest(head + b"a\r\nb")
    assert digest(b"Subject: x\r\n") == digest(head) != digest(head + b"x")


# -- verify -----------------------------------------------------------------------------------------


def verify(office: Path, there: dict[bytes, bytes], here: dict[bytes, bytes], *arguments: str) -> Result:
    with Peer(there) as old, Peer(here) as new:
        urls = ["--verify", str(old.url), "--ours", str(new.url)]
        result = adopt(office, *urls, "--passwords", passwords(office), *arguments)
    for peer in (old, new):
        assert peer.heard[-1] == b"QUIT"
        assert not any(line.startswith(b"DELE") for line in peer.heard)
    return result


def test_the_same(office: Path) -> None:
    assert done(verify(office, replies(OLD), replies(OLD))) == ("bob: 3 messages: ids, order and octets are the same\n")
    assert done(verify(office, replies(OLD), replies(OLD), "--content")).endswith("are the same\n")


@pytest.mark.parametrize(
    ("here", "rows"),
    [
        (replies(OLD[:2]), [["b", "3:", "36", "octets", "missing"]]),
        (replies([*OLD, ("d", b"")]), [["d", "missing", "4:", "2", "octets"]]),
        (
            replies([OLD[1], OLD[0], OLD[2]]),
            [["c", "1:", "38", "octets", "2:", "38", "octets"], ["a", "2:", "37", "octets", "1:", "37", "octets"]],
        ),
        (replies(OLD, sizes=[38, 37, 99]), [["b", "3:", "36", "octets", "3:", "99", "octets"]]),
        (replies([*OLD, OLD[0]]), [["c", "1", "times", "2", "times"]]),
    ],
)
def test_differences(office: Path, here: dict[bytes, bytes], rows: list[list[str]]) -> None:
    result = verify(office, replies(OLD), here)
    assert result.returncode == 1
    table = [line.split() for line in result.stdout.splitlines()]
    assert table[0] == ["unique-id", "old", "server", "here"]
    assert table[1:] == rows


def test_other_content(office: Path) -> None:
    other = replies([OLD[0], OLD[1], ("b", OLD[2][1].replace(b"x\n", b"y\n"))])
    assert done(verify(office, replies(OLD), other)).endswith("are the same\n")
    result = verify(office, replies(OLD), other, "--content")
    assert (result.returncode, result.stderr) == (1, "bob: 1 difference\n")
    assert result.stdout.splitlines()[1].startswith("  b          3: content ")


def test_a_long_table(office: Path) -> None:
    result = verify(office, replies([(str(number), b"x") for number in range(150)]), replies([]))
    assert result.stdout.splitlines()[-1] == "  ... and 50 more"
    assert len(result.stdout.splitlines()) == 102


def test_who_refuses_is_named(office: Path) -> None:
    with Peer(replies(OLD)) as old, Peer(LOGIN | {b"PASS": b"-ERR [AUTH] wrong\r\n"}) as new:
        urls = ["--verify", str(old.url), "--ours", str(new.url)]
        line = refused(adopt(office, *urls, "--password-stdin", stdin="b\n"))
    assert line == f"bob: {new.url}: [AUTH] wrong"


def test_a_server_without_unique_ids(office: Path) -> None:
    with Peer(LOGIN) as peer:
        line = refused(adopt(office, "--from", str(peer.url), "--passwords", passwords(office)))
    assert line == f"bob: {peer.url} does not tell unique-ids: unknown"


def test_two_passwords(office: Path) -> None:
    """A master's for the old server, from standard input; the user's own for ours."""
    with Peer(replies(OLD)) as old, Peer(replies(OLD)) as new:
        urls = ["--verify", str(old.url), "--ours", str(new.url), "--login", "{user}*m", "--passwords"]
        done(adopt(office, *urls, passwords(office), "--password-stdin", stdin="master\n"))
    assert old.heard[1:3] == [b"USER bob*m", b"PASS master"]
    assert new.heard[1:3] == [b"USER bob", b"PASS b"]


def test_help_shows_an_example() -> None:
    assert "Example: restante adopt" in done(restante("adopt", "--help"))

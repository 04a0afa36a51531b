"""Maildirs that a real Dovecot serves: its ids as we read them, ids that we enter into its list, and real clients."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from restante.stores.maildir import foreign
from tests.interop.adoption import Client, LeavingMpop, LeavingThunderbird, adopt, adopted, deliver_by_us
from tests.interop.bench import PASSWORD, USER, Office, post_office
from tests.interop.catalogue import needs_client, once
from tests.interop.foreign_servers import (
    Dovecot,
    Imap,
    Pop3,
    RefusedError,
    configured_dovecot,
    deliver,
    deliver_by_dovecot,
    listing,
    make_maildir,
    needs_dovecot,
    needs_dovecot_running,
    open_folder,
    own,
    running_dovecot,
)
from tests.interop.marionette import thunderbird

NAMES = [f"170000000{number}.M{number}P1.host,S=14" for number in range(1, 5)]

# -- reading ----------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture
def maildir(folder: Path) -> Path:
    """The Maildir of bob with four messages."""
    path = make_maildir(folder / "mail" / "bob")
    for name in NAMES:
        deliver(path, name, b"Subject: %b\n\nx\n" % name[9:10].encode())
    return path


@pytest.fixture
def dovecot(maildir: Path, folder: Path) -> Dovecot:
    """Dovecot, which has seen these messages."""
    dovecot = configured_dovecot(folder / "dovecot", maildir.parent)
    assert len(dovecot.direct_ids("bob")) == len(NAMES)
    return dovecot


def ids(maildir: Path, uidl_format: str = "") -> list[str]:
    return [identified.unique_id for identified in foreign.read(str(maildir), "dovecot", uidl_format)]


@needs_dovecot
def test_default_format(dovecot: Dovecot, maildir: Path) -> None:
    """P-128, M-011."""
    there = dovecot.direct_ids("bob")
    assert len(there[0]) == 16
    assert ids(maildir) == there
    assert [identified.base for identified in foreign.read(str(maildir), "dovecot")] == NAMES


@needs_dovecot
@pytest.mark.parametrize(
    "uidl_format",
    [
        "%08Xu%08Xv", "%u.%v", "%v-%u", "%08Xv%08Xu", "%f", "%g", "%Mf", "%Ru-%URf", "%LUf", "%ULf", "%04u", "%2u%v",
        "a%%b%u", "UID%u-%v", "%-4.3f%u", "%5.0-3f", "%5.-3f", "%03.3v%u", "%3.Xv.%u", "%Xf-%u", "%99.u%u", "%-99.f",
        "%20Nu.%u", "%256Nf-%u", "%4.256Nf-%u", "%Nf", "%2.20Hf.%u", "%Hf", "%HMf", "%MHf-%u", "%020Xu",
    ],
)  # fmt: skip
def test_formats(dovecot: Dovecot, maildir: Path, uidl_format: str) -> None:
    """P-128: each makes the same ids as Dovecot with this setting."""
    assert ids(maildir, uidl_format) == dovecot.direct_ids("bob", f"pop3_uidl_format={uidl_format}")


@needs_dovecot
def test_saved_ids(dovecot: Dovecot, maildir: Path) -> None:
    """``pop3_save_uidl``: what was once shown stays, whatever the format is now; a file name is saved as nothing."""
    saved = dovecot.direct_ids("bob", "pop3_save_uidl=yes", "pop3_uidl_format=old-%u")
    assert saved[0] == "old-1"
    deliver(maildir, "1700000009.M9P1.host", b"Subject: new\n\nx\n")
    there = dovecot.direct_ids("bob", "pop3_save_uidl=yes", "pop3_uidl_format=%f")
    assert there == [*saved, "1700000009.M9P1.host"]
    assert ids(maildir, "%u.%v") == there == dovecot.direct_ids("bob", "pop3_uidl_format=%u.%v")


@needs_dovecot
def test_fields_of_the_list(dovecot: Dovecot, maildir: Path) -> None:
    """An order of its own (``O``), guids (``G``), saved ids (``P``), two of them equal, and a field nobody knows."""
    uidlist = maildir / "dovecot-uidlist"
    header = uidlist.read_text(encoding="utf-8").splitlines()[0]
    lines = [
        f"1 O2 Gguid-1 W38 :{NAMES[0]}",
        f"2 Psaved :{NAMES[1]}",
        f"3 O1 Psaved Zx :{NAMES[2]}",
        f"4 P Gguid-4 :{NAMES[3]}",
    ]
    uidlist.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    own(uidlist)
    there = dovecot.direct_ids("bob", "pop3_uidl_format=%g", "pop3_uidl_duplicates=rename")
    assert there == ["saved-2", "guid-1", "saved", NAMES[3]]
    assert ids(maildir, "%g") == there


@needs_dovecot
def test_messages_that_have_gone(dovecot: Dovecot, maildir: Path) -> None:
    """They stay in the list for a while."""
    dovecot.direct("bob", "DELE 2", "DELE 3")
    assert ids(maildir) == dovecot.direct_ids("bob")
    assert len(ids(maildir)) == 2


@needs_dovecot
def test_a_list_of_version_1(dovecot: Dovecot, maildir: Path) -> None:
    """As Dovecot 1.0 has left it; this one still reads it, and what we make of it."""
    uidlist = maildir / "dovecot-uidlist"
    for index in maildir.glob("dovecot.index*"):
        index.unlink()
    uidlist.write_text(
        f"1 1234567890 9\n3 {NAMES[0]}\n5 {NAMES[1]}:2,S\n7 {NAMES[2]}\n8 {NAMES[3]}\n", encoding="ascii"
    )
    own(uidlist)
    assert ids(maildir, "%u.%v") == [f"{uid}.1234567890" for uid in (3, 5, 7, 8)]
    deliver(maildir, "1700000009.M9P1.host", b"Subject: new\n\nx\n")
    given = foreign.assign(str(maildir), "dovecot", "%u.%v", ["1700000009.M9P1.host"])
    assert given == {"1700000009.M9P1.host": "9.1234567890"}
    assert dovecot.direct_ids("bob", "pop3_uidl_format=%u.%v") == ids(maildir, "%u.%v")
    assert ids(maildir, "%u.%v")[-1] == "9.1234567890"


# -- ids that we give -------------------------------------------------------------------------------


def arrive(maildir: Path, number: int) -> str:
    """A message for which nobody has an id yet; returns its base name."""
    name = f"17{number:08d}.M{number}P9.postfix"
    deliver(maildir, name, b"Subject: %d\n\nx\n" % number)
    return name


@needs_dovecot
def test_new_messages_in_our_order(dovecot: Dovecot, maildir: Path) -> None:
    """M-011, P-129: Dovecot takes the uids that we have given, and goes on behind them."""
    bases = [arrive(maildir, number) for number in (7, 5, 6)]
    given = foreign.assign(str(maildir), "dovecot", "", [*bases, NAMES[0]])
    assert list(given) == [NAMES[0], *bases]  # as Dovecot lists them
    last = arrive(maildir, 4)
    there = dovecot.direct_ids("bob")
    assert there[:-1] == [*ids(maildir)[:4], *(given[base] for base in bases)]
    assert given[NAMES[0]] == there[0]
    assert foreign.assign(str(maildir), "dovecot", "", [last]) == {last: there[-1]}
    assert dovecot.direct_ids("bob") == there == ids(maildir)


@needs_dovecot
def test_a_list_that_was_cut_off(dovecot: Dovecot, maildir: Path) -> None:
    """The disk was full: half a line, which we mend as Dovecot would, and no uid is given twice."""
    uidlist = maildir / "dovecot-uidlist"
    with uidlist.open("ab") as file:
        file.write(b"5 :17000000")
    assert len(ids(maildir)) == 4
    base = arrive(maildir, 9)
    given = foreign.assign(str(maildir), "dovecot", "", [base])
    assert given[base].startswith("00000006")
    assert dovecot.direct_ids("bob") == [*ids(maildir)[:4], given[base]]


@needs_dovecot
def test_names_that_dovecot_does_not_show(dovecot: Dovecot, maildir: Path) -> None:
    """They get ids of ours, and are not entered."""
    base = arrive(maildir, 9)
    given = foreign.assign(str(maildir), "dovecot", "", ["1700000009.\n.host", base, "1700000009.\r.host"])
    assert [len(unique_id) for unique_id in given.values()] == [16, 64, 64]
    assert dovecot.direct_ids("bob")[-1] == given[base]
    assert ids(maildir)[-1] == given[base]


@needs_dovecot
def test_names_that_are_not_ascii(dovecot: Dovecot, maildir: Path) -> None:
    base = "1700000099.Gr\udcfc\udcdfe h\u00e4user"
    deliver(maildir, base, b"Subject: x\n\nx\n")
    given = foreign.assign(str(maildir), "dovecot", "", [base])
    assert dovecot.direct_ids("bob")[-1] == given[base] == ids(maildir)[-1]


# -- while it runs ----------------------------------------------------------------------------------


@pytest.fixture
def running(maildir: Path, folder: Path) -> Iterator[Dovecot]:
    with running_dovecot(folder / "dovecot", maildir.parent) as dovecot:
        listing(dovecot.port, USER, PASSWORD)
        yield dovecot
    assert dovecot.troubles() == []


@needs_dovecot_running
def test_while_imap_is_open(running: Dovecot, maildir: Path) -> None:
    """New mail shows up in a session that idles, with the uid that we gave; flags and expunges change no id."""
    with closing(Imap(running.imap)) as imap:
        imap.idle()
        bases = [arrive(maildir, number) for number in (12, 11)]
        given = foreign.assign(str(maildir), "dovecot", "%u", bases)
        assert list(given.values()) == ["5", "6"]
        imap.news("6 EXISTS")
        imap.stop_idle()
        assert imap.uids() == [1, 2, 3, 4, 5, 6]
        imap.ask("UID STORE 2 +FLAGS (\\Deleted)")
        imap.ask("UID STORE 5 +FLAGS (\\Seen \\Answered)")
        imap.ask("EXPUNGE")
        deliver_by_dovecot(running, "bob", b"Subject: lda\n\nx\n")
        last = arrive(maildir, 13)
        assert foreign.assign(str(maildir), "dovecot", "%u", [last]) == {last: "8"}
        imap.ask("NOOP")
        assert imap.uids() == [1, 3, 4, 5, 6, 7, 8]
    assert ids(maildir, "%u") == ["1", "3", "4", "5", "6", "7", "8"]
    assert [unique_id for unique_id, _ in listing(running.port, USER, PASSWORD)] == ids(maildir)


@needs_dovecot_running
def test_while_a_pop3_session_is_open(running: Dovecot, maildir: Path) -> None:
    """Its listing stays, the next one has our ids."""
    session = Pop3(running.port, USER, PASSWORD)
    before = session.listing()
    base = arrive(maildir, 14)
    given = foreign.assign(str(maildir), "dovecot", "", [base])
    assert session.listing() == before
    session.quit()
    assert [unique_id for unique_id, _ in listing(running.port, USER, PASSWORD)][-1] == given[base]


@needs_dovecot_running
def test_both_at_once(running: Dovecot, maildir: Path) -> None:
    """Nobody loses an id, and none is given twice, however the two get in each other's way."""
    rounds = 30
    given: dict[str, str] = {}

    def ours() -> None:
        for number in range(rounds):
            bases = [arrive(maildir, 1000 + 10 * number + count) for count in range(3)]
            given.update(foreign.assign(str(maildir), "dovecot", "", bases))

    def lda() -> None:
        for number in range(rounds):
            deliver_by_dovecot(running, USER, b"Subject: lda %d\n\nx\n" % number)

    def pop3() -> None:
        for _ in range(rounds):
            listing(running.port, USER, PASSWORD)

    with closing(Imap(running.imap)) as imap, ThreadPoolExecutor() as pool:
        at_work = [pool.submit(work) for work in (ours, lda, pop3, pop3)]
        while not all(work.done() for work in at_work):
            imap.ask("NOOP")
            imap.ask("UID STORE 1:* FLAGS (\\Flagged)")
        for work in at_work:
            work.result()
    there = [unique_id for unique_id, _ in listing(running.port, USER, PASSWORD)]
    assert len(there) == len(set(there)) == len(NAMES) + 4 * rounds
    known = {identified.base: identified.unique_id for identified in foreign.read(str(maildir), "dovecot")}
    assert {base: known[base] for base in given} == given
    assert sorted(known.values()) == sorted(there)


# -- real clients -----------------------------------------------------------------------------------

SUBJECTS = sorted([b"dots", b"eight bit", b"no line end", b"long line", b"nothing", "Gr\u00fc\u00dfe".encode()])


class Move(NamedTuple):
    """A post office and the Dovecot that has served its Maildirs so far; both run."""

    office: Office
    dovecot: Dovecot

    def ids(self) -> list[str]:
        """Compare what the two servers list; returns the ids."""
        there = [unique_id for unique_id, _ in listing(self.dovecot.port, USER, PASSWORD)]
        here = [unique_id for unique_id, _ in listing(self.office.plain, USER, PASSWORD)]
        assert here == there
        return here


@pytest.fixture
def move(folder: Path) -> Iterator[Move]:
    (folder / "office").mkdir()
    with post_office(folder / "office") as office:
        own(office.folder / "mail")
        with running_dovecot(folder / "dovecot", office.folder / "mail") as dovecot:
            yield Move(office, dovecot)
        assert dovecot.troubles() == []


def nothing_is_fetched_twice(move: Move, client: Client) -> None:
    office, dovecot = move
    assert client.fetch(dovecot.port) == SUBJECTS
    assert adopted(office).startswith("bob: 6 messages have the ids of Dovecot")
    assert client.fetch(office.plain) == []
    deliver_by_dovecot(dovecot, USER, b"Subject: by lda\n\nx\n")
    deliver_by_us(office, b"Subject: by us\r\n\r\nx\r\n")
    deliver(office.folder / "mail" / USER, "1800000000.M1P1.postfix", b"Subject: by postfix\n\nx\n")
    assert client.fetch(office.plain) == [b"by lda", b"by postfix", b"by us"]
    assert client.fetch(dovecot.port) == []
    deliver_by_us(office, b"Subject: more\r\n\r\nx\r\n")
    assert client.fetch(dovecot.port) == [b"more"]
    assert client.fetch(office.plain) == []
    assert len(set(move.ids())) == 10


@needs_dovecot_running
@needs_client("mpop")
def test_mpop_fetches_nothing_twice(move: Move, tmp_path: Path) -> None:
    """P-128, P-125: nor after the move, nor while both servers run side by side."""
    nothing_is_fetched_twice(move, LeavingMpop(tmp_path))


@once
@needs_dovecot_running
@needs_client("Thunderbird")
def test_thunderbird_fetches_nothing_twice(move: Move, tmp_path: Path) -> None:
    """P-128."""
    with thunderbird(tmp_path) as browser:
        nothing_is_fetched_twice(move, LeavingThunderbird(browser, move.office))


@needs_dovecot_running
def test_imap_goes_on(move: Move) -> None:
    """Flags, moves to ``cur`` and expunges by Dovecot's IMAP, and deletions by our POP3, change no id."""
    office, dovecot = move
    before = [unique_id for unique_id, _ in listing(dovecot.port, USER, PASSWORD)]
    adopted(office)
    with closing(Imap(dovecot.imap)) as imap:
        imap.ask("UID STORE 1:* +FLAGS (\\Seen $Junk)")
        assert move.ids() == before
        imap.ask("UID STORE 2 +FLAGS (\\Deleted)")
        imap.ask("EXPUNGE")
        assert move.ids() == [before[0], *before[2:]]
        session = Pop3(office.plain, USER, PASSWORD)
        session.ask("DELE 1")
        session.quit()
        assert move.ids() == before[2:]
        imap.idle()
        deliver_by_us(office, b"Subject: news\r\n\r\nx\r\n")
        imap.news("EXISTS")
        imap.stop_idle()
        assert len(move.ids()) == 5
        deliver_by_us(office, b"Subject: more\r\n\r\nx\r\n")
        ours = [unique_id for unique_id, _ in listing(office.plain, USER, PASSWORD)]
        imap.ask("NOOP")
        assert imap.uids() == [int(unique_id[:8], 16) for unique_id in ours]
    assert move.ids() == ours


def seen(port: int) -> Iterator[tuple[str, str]]:
    """Give unique-ids and subjects, but of messages that were just renamed when they were asked for."""
    session = Pop3(port, USER, PASSWORD)
    for number, (unique_id, _) in enumerate(session.listing(), 1):
        with suppress(RefusedError):
            subject = next(line for line in session.lines(f"TOP {number} 0") if line.startswith("Subject: "))
            yield unique_id, subject.replace("=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=", "Gr\u00fc\u00dfe")  # P-256: ours alone
    session.quit()


@once
@needs_dovecot_running
def test_everything_at_once(move: Move) -> None:
    """P-124, P-125: deliveries by three programs, flags, clients at both servers: an id means one message, always."""
    office, dovecot = move
    pairs = set(seen(dovecot.port))
    adopted(office)

    def deliveries() -> None:
        for number in range(25):
            deliver_by_us(office, b"Subject: us %d\r\n\r\nx\r\n" % number)
            deliver_by_dovecot(dovecot, USER, b"Subject: lda %d\n\nx\n" % number)
            text = b"Subject: postfix %d\n\nx\n" % number
            deliver(office.folder / "mail" / USER, f"18{number:08d}.M1P1.postfix", text)

    def client(port: int) -> None:
        for _ in range(20):
            pairs.update(seen(port))

    with closing(Imap(dovecot.imap)) as imap, ThreadPoolExecutor() as pool:
        at_work = [pool.submit(deliveries), pool.submit(client, office.plain), pool.submit(client, dovecot.port)]
        while not all(work.done() for work in at_work):
            imap.ask("NOOP")
            imap.ask("UID STORE 1:* FLAGS (\\Flagged)")
            imap.ask("UID STORE 1:* FLAGS ()")
        for work in at_work:
            work.result()
    pairs.update(seen(office.plain))
    ids = [[unique_id for unique_id, _ in seen(port)] for port in (office.plain, dovecot.port)]
    assert sorted(ids[0]) == sorted(ids[1])  # two that came at once may have changed places
    assert len({unique_id for unique_id, _ in pairs}) == len({subject for _, subject in pairs}) == len(pairs) == 81


@needs_dovecot_running
def test_verify(move: Move) -> None:
    """Before, all ids differ; after, only octets, where Dovecot's LIST forgets a line end that it sends (P-087)."""
    office, dovecot = move
    urls = ["--verify", f"pop://127.0.0.1:{dovecot.port}", "--ours", f"pop://127.0.0.1:{office.plain}"]
    before = adopt(office, *urls)
    assert (before.returncode, before.stderr) == (1, "bob: 12 differences\n")
    adopted(office)
    after = adopt(office, *urls)
    octets = [octets for _, octets in listing(dovecot.port, USER, PASSWORD)]
    unique_id = move.ids()[2]
    assert (after.returncode, after.stderr) == (1, "bob: 1 difference\n")
    assert after.stdout.splitlines()[1] == f"  {unique_id}  3: {octets[2]} octets  3: {octets[2] + 2} octets"
    session = Pop3(office.plain, USER, PASSWORD)
    session.ask("DELE 3")
    session.quit()
    for ours in (
        f"pop://127.0.0.1:{office.plain}",
        f"pop://localhost:{office.strict}",
        f"pops://localhost:{office.tls}",
    ):
        arguments = [*urls[:2], "--ours", ours, "--ca", str(office.ca), "--content"]
        assert adopted(office, *arguments) == "bob: 5 messages: ids, order and octets are the same\n"


@needs_dovecot_running
def test_over_the_wire(move: Move) -> None:
    """Without looking at its files: Dovecot's own list is out of the way."""
    office, dovecot = move
    url = f"pop://127.0.0.1:{dovecot.port}"
    deliver(office.folder / "mail" / USER, "1800000000.M1P1.host", b"Subject: copy\n\nx\n")
    deliver(office.folder / "mail" / USER, "1800000001.M1P1.host", b"Subject: copy\n\nx\n")
    deliver(office.folder / "mail" / USER, "1800000002.M1P1.host", b"Subject: copy\n\ny\n")
    there = [unique_id for unique_id, _ in listing(dovecot.port, USER, PASSWORD)]
    assert adopted(office, "--from", url) == f"bob: 9 messages have the ids of {url}\n"
    assert move.ids() == there
    assert adopted(office, "--from", url) == f"bob: 9 messages have the ids of {url}\n"


@needs_dovecot_running
def test_it_ends_by_itself(move: Move) -> None:
    """Dovecot's list is removed: new messages are shown, with ids of our own."""
    office, dovecot = move
    listing(dovecot.port, USER, PASSWORD)
    adopted(office)
    before = move.ids()
    (office.folder / "mail" / USER / "dovecot-uidlist").unlink()
    deliver_by_us(office, b"Subject: news\r\n\r\nx\r\n")
    ours = [unique_id for unique_id, _ in listing(office.plain, USER, PASSWORD)]
    assert ours[:-1] == before
    assert ours[-1].endswith(",S=17,W=20") or len(ours[-1]) == 64
    assert not (office.folder / "mail" / USER / "dovecot-uidlist").exists()

"""The TRANSACTION state: conformance section 3 (P-070 to P-130)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.errors import PermanentFailure, TemporaryFailure
from restante.maildrop import Message
from restante.protocol.events import Login, Retrieve
from restante.protocol.framing import wire_octets
from restante.protocol.policy import Features, SessionLimits
from restante.protocol.pop3_server import Session
from restante.protocol.stage import State
from tests.protocol.driver import World, body_of

MAIL = b"Subject: x\n\nbody\n"
SHAPES = [
    b"",  # P-096
    b"\n",
    b".",
    b".\n.\n",
    b"no end",  # P-087
    b"ends in CR\r",
    b"bare\rCR\n",
    b"nul\0nul\n\nx\0\n",
    b"mixed\r\nline\nends\r\n.\n\r\n",
    b"only: header\n",  # P-098
    b"8-bit: \xe9\xff\n\n\x80\n",
    b"A: b\r\n\r\ncrlf\r\n",  # P-099
    b"x" * 100_000,  # P-094
    b"\r\r\n",
]


def test_stat_and_list_leave_out_what_is_marked() -> None:
    """P-070 to P-073, P-078, P-080: and the numbers of the others stay, in ascending order."""
    world = World(b"1\n", b"22\n", b"333\n").login()
    assert world.send(b"STAT\r\n") == b"+OK 3 12\r\n"
    world.send(b"DELE 1\r\n")
    assert world.send(b"STAT\r\n") == b"+OK 2 9\r\n"
    assert world.send(b"LIST\r\n") == b"+OK 2 messages (9 octets)\r\n2 4\r\n3 5\r\n.\r\n"
    assert world.send(b"UIDL\r\n") == b"+OK 2 messages (9 octets)\r\n2 id-2\r\n3 id-3\r\n.\r\n"  # P-127
    assert world.send(b"LIST 2\r\n") == b"+OK 2 4\r\n"  # P-077: one line, no terminator
    assert world.send(b"UIDL 3\r\n") == b"+OK 3 id-3\r\n"  # P-122
    world.send(b"DELE 3\r\nDELE 2\r\n")
    assert world.send(b"LIST\r\n") == b"+OK 0 messages (0 octets)\r\n.\r\n"
    assert world.send(b"STAT\r\n") == b"+OK 0 0\r\n"


def test_a_marked_message_is_out_of_reach() -> None:
    """P-079, P-090, P-101, P-103, P-117, P-127."""
    world = World(MAIL, MAIL).login()
    assert world.send(b"DELE 1\r\n").startswith(b"+OK ")
    for command in (b"LIST 1", b"UIDL 1", b"RETR 1", b"TOP 1 0", b"DELE 1"):
        assert world.send(command + b"\r\n") == b"-ERR message 1 is marked deleted (RSET undoes that)\r\n"


def test_rset_unmarks_all() -> None:
    """P-107."""
    world = World(MAIL, MAIL).login()
    world.send(b"DELE 1\r\nDELE 2\r\n")
    assert world.send(b"RSET\r\n") == b"+OK 2 messages (40 octets)\r\n"
    assert world.send(b"STAT\r\n") == b"+OK 2 40\r\n"
    world.send(b"QUIT\r\n")
    assert world.updated is None


def test_noop_does_nothing() -> None:
    """P-105."""
    world = World(MAIL).login()
    assert world.send(b"NOOP\r\n") == b"+OK nothing done\r\n"
    assert world.send(b"STAT\r\n") == b"+OK 1 20\r\n"


@pytest.mark.parametrize("stored", SHAPES)
def test_list_tells_what_retr_sends(stored: bytes) -> None:
    """P-081, P-084, P-085, P-087, P-088, P-092, P-096, P-098, P-099: any shape of a message, twice the same."""
    world = World(stored).login()
    reply = world.send(b"RETR 1\r\n")
    octets = int(world.send(b"LIST 1\r\n").split()[2])
    assert reply.startswith(b"+OK %d octets\r\n" % octets)
    assert len(body_of(reply)) == octets
    assert world.send(b"STAT\r\n") == b"+OK 1 %d\r\n" % octets
    assert world.send(b"RETR 1\r\n") == reply


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\0"])).map(b"".join))
def test_list_tells_what_retr_sends_for_any_octets(stored: bytes) -> None:
    """P-088."""
    world = World(stored).login()
    body = body_of(world.send(b"RETR 1\r\n"))
    assert world.send(b"LIST\r\n") == b"+OK 1 messages (%d octets)\r\n1 %d\r\n.\r\n" % (len(body), len(body))


@pytest.mark.parametrize("stored", SHAPES)
@pytest.mark.parametrize("lines", [0, 1, 2, 99999999, 2**32, 10**30])
@pytest.mark.parametrize("zeros", [b"", b"0" * 30])
def test_top_is_a_prefix_of_retr(stored: bytes, lines: int, zeros: bytes) -> None:
    """P-110 to P-119; P-112: fetchmail asks for 99999999 lines instead of RETR."""
    world = World(stored).login()
    whole = body_of(world.send(b"RETR 1\r\n"))
    reply = world.send(b"TOP 1 %b%d\r\n" % (zeros, lines))
    assert reply.startswith(b"+OK top of message follows\r\n")
    part = body_of(reply)
    assert whole.startswith(part)
    header, blank, body = whole.partition(b"\r\n\r\n") if not whole.startswith(b"\r\n") else (b"", b"\r\n", whole[2:])
    expected = header + blank + b"".join(line + b"\r\n" for line in body.split(b"\r\n")[:-1][:lines])
    assert part == expected


def test_top_stops_reading_when_it_has_enough() -> None:
    """P-295: a huge message is not read for its header."""
    session = World(b"A: b\n\n" + b"x\n" * 50).login().session
    session.receive_data(b"TOP 1 1\r\n")
    assert session.next_event() == Retrieve(1, 1)
    session.message_follows()
    assert session.message_data(b"A: b\n\n")
    assert not session.message_data(b"x\nx\n")
    assert not session.message_data(b"x\n")
    session.message_complete()
    assert session.data_to_send() == b"+OK top of message follows\r\nA: b\r\n\r\nx\r\n.\r\n"


@pytest.mark.parametrize(
    ("condition", "code"), [(TemporaryFailure("gone"), b"[SYS/TEMP]"), (PermanentFailure("mode 000"), b"[SYS/PERM]")]
)
def test_a_message_that_cannot_be_read(condition: TemporaryFailure, code: bytes) -> None:
    """P-095, P-293: decided before +OK; the session goes on."""
    world = World(MAIL, MAIL, conditions={Retrieve: condition}).login()
    assert world.send(b"RETR 1\r\n").startswith(b"-ERR " + code)
    world.conditions.clear()
    assert world.send(b"RETR 2\r\n").startswith(b"+OK ")


def retrieving(stored_octets: int = 20) -> Session:
    """A session that has just been asked for message 1 of one."""
    session = Session(Features("mail.example.org"))
    session.receive_data(b"USER bob\r\nPASS secret\r\nDELE 2\r\nRETR 1\r\nQUIT\r\n")
    assert isinstance(session.next_event(), Login)
    session.login_succeeded([Message("a", stored_octets), Message("b", 1)])
    assert session.next_event() == Retrieve(1, None)
    session.data_to_send()
    return session


def test_a_message_cut_short_is_never_ended_cleanly() -> None:
    """P-095: no terminator, no UPDATE, the end; else a client would delete what it has not got."""
    session = retrieving()
    session.message_follows()
    session.message_data(b"Subject: x\n")
    assert session.data_to_send() == b"+OK 20 octets\r\nSubject: x\r\n"
    session.message_data(b"half")
    session.message_complete()
    assert session.state is State.CLOSED
    assert session.data_to_send() == b""
    assert session.next_event() is None
    assert session.end_reason == "message 1 has 18 octets, not 20 as listed"


def test_a_message_in_one_piece_that_is_not_as_listed() -> None:
    """P-095: the same."""
    session = retrieving()
    assert not session.message(b"Subject: x\nhalf")
    assert session.state is State.CLOSED
    assert session.data_to_send() == b""
    assert session.end_reason == "message 1 has 18 octets, not 20 as listed"


def test_top_of_a_message_cut_short_is_never_ended_cleanly() -> None:
    """P-095, field notes 4.3: fetchmail fetches by TOP n 99999999, and deletes what came with a clean end."""
    session = Session(Features("mail.example.org"))
    session.receive_data(b"USER bob\r\nPASS secret\r\nTOP 1 99999999\r\n")
    session.next_event()
    session.login_succeeded([Message("a", 20)])
    assert session.next_event() == Retrieve(1, 99999999)
    session.message_follows()
    session.message_data(b"Subject: x\n\nhal")
    assert not session.message_complete()
    assert session.state is State.CLOSED
    assert session.data_to_send() == b""


def test_an_error_in_mid_message_ends_the_session() -> None:
    """P-095."""
    session = retrieving()
    session.message_follows()
    session.message_data(b"Subject: x\n")
    session.refused(TemporaryFailure("EIO"))
    assert session.state is State.CLOSED
    assert session.data_to_send() == b""
    assert session.next_event() is None


def test_while_an_event_is_outstanding_nothing_further_is_parsed() -> None:
    """P-275: and the event is handed out once."""
    session = retrieving()
    assert session.next_event() is None
    assert session.data_to_send() == b""
    session.message_follows()
    session.message_data(MAIL)
    assert session.next_event() is None
    session.message_complete()
    assert session.next_event() is not None  # QUIT, at last


def test_answers_that_nobody_asked_for_are_our_own_defect() -> None:
    """Exactly one answer for each event."""
    session = World(MAIL).login().session
    with pytest.raises(RuntimeError):
        session.login_succeeded([])
    with pytest.raises(RuntimeError):
        session.updated()
    with pytest.raises(RuntimeError):
        session.resumed()
    with pytest.raises(RuntimeError):
        session.message_follows()
    with pytest.raises(RuntimeError):
        session.message_data(b"x")
    session.receive_data(b"RETR 1\r\n")
    session.next_event()
    with pytest.raises(RuntimeError):
        session.message_complete()
    with pytest.raises(RuntimeError):
        session.updated()
    assert session.state is State.TRANSACTION


def test_statistics() -> None:
    """P-288: for the log line."""
    world = World(MAIL, b".\n").login()
    world.send(b"RETR 1\r\nRETR 2\r\nTOP 1 0\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
    done = world.session.statistics
    assert (done.retr, done.retr_octets, done.top, done.top_octets) == (3, 43, 1, 14)
    assert (done.deleted, done.left) == (1, 1)


def test_long_listings_come_in_slices() -> None:
    """P-295, P-277: the session makes no more than there is room for, and nothing is lost or doubled."""
    session = Session(Features("mail.example.org", limits=SessionLimits(output=5000)))
    session.receive_data(b"USER bob\r\nPASS secret\r\nLIST\r\nSTAT\r\n")
    session.next_event()
    session.login_succeeded([Message(f"{number:070d}", 1) for number in range(1, 20_001)])
    sent = []
    while session.next_event() is None:
        data = session.data_to_send()
        if not data:
            break
        assert len(data) < 5000 + 1000 * 10
        sent.append(data)
    assert len(sent) > 10
    expected = b"".join(b"%d 1\r\n" % number for number in range(1, 20_001))
    assert b"".join(sent).endswith(b"+OK 20000 messages (20000 octets)\r\n" + expected + b".\r\n+OK 20000 20000\r\n")


def test_a_listing_with_little_to_show_takes_its_turns_as_well() -> None:
    """P-295: everything is marked, and LIST still looks at all of it, in steps."""
    session = Session(Features("mail.example.org", limits=SessionLimits(turn=10)))
    session.receive_data(b"USER bob\r\nPASS secret\r\n")
    session.next_event()
    session.login_succeeded([Message(f"{number}", 1) for number in range(20_000)])
    assert session._transaction is not None
    session._transaction.listing.deleted = set(range(1, 20_001))
    session.data_to_send()
    session.receive_data(b"LIST\r\n")
    turns = 1
    while session.next_event() is None and session.unfinished:
        turns += 1
    assert turns == 3  # one command, twenty slices and an end
    assert session.data_to_send() == b"+OK 0 messages (20000 octets)\r\n.\r\n"


def test_sizes_are_not_cut_to_32_bits() -> None:
    """P-073."""
    session = Session(Features("mail.example.org"))
    session.receive_data(b"USER bob\r\nPASS secret\r\nSTAT\r\nLIST 1\r\n")
    session.next_event()
    session.login_succeeded([Message("a", 2**40), Message("b", 2**40)])
    session.next_event()
    assert session.data_to_send().endswith(b"+OK 2 2199023255552\r\n+OK 1 1099511627776\r\n")


def test_the_listing_is_measured_by_the_function_that_sends() -> None:
    """P-088: `wire_octets` is what the stores use."""
    assert wire_octets([b"a\n.b"]) == len(body_of(World(b"a\n.b").login().send(b"RETR 1\r\n")))


def test_a_long_reply_is_handed_over_in_pieces_and_a_short_one_as_one() -> None:
    long = b"x" * 100_000 + b"\r\n"
    session = World(b"short\r\n", long).login().session
    session.receive_data(b"RETR 1\r\nRETR 2\r\n")
    assert session.next_event() == Retrieve(1, None)
    assert session.message(b"short\r\n")
    assert session.pieces_to_send() == [b"+OK 7 octets\r\nshort\r\n.\r\n"]
    assert session.next_event() == Retrieve(2, None)
    assert session.message(long)
    assert session.pieces_to_send() == [b"+OK 100002 octets\r\n", long, b".\r\n"]
    assert session.pieces_to_send() == []

"""Many commands at once, and one octet at a time: conformance section 10 (P-275 to P-278)."""

from hypothesis import given, settings
from hypothesis import strategies as st

from restante.protocol.policy import Features, SessionLimits
from restante.protocol.pop3_server import Session
from tests.protocol.driver import World

MESSAGES = (b"Subject: one\n\n.dot\n", b"", b"no end", b"A: b\r\n\r\n1\n2\n3\n")
LINES = [
    b"USER bob", b"USER", b"PASS secret", b"PASS wrong", b"PASS", b"STAT", b"LIST", b"LIST 2", b"LIST 9", b"UIDL",
    b"UIDL 1", b"RETR 1", b"RETR 3", b"TOP 4 1", b"TOP 4", b"DELE 1", b"DELE 4", b"RSET", b"NOOP", b"CAPA", b"HELP",
    b"", b"x" * 50, b"FO\rO", b"\xff\xfb\x1fUSER bob", b"QUIT", b"QUIT x",
]  # fmt: skip
ENDS = [b"\r\n", b"\n"]

dialogues = st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)).map(b"".join), max_size=30).map(b"".join)
logged_in = st.booleans().map(lambda yes: b"USER bob\r\nPASS secret\r\n" if yes else b"")


@settings(max_examples=300)
@given(logged_in, dialogues, st.data())
def test_any_splitting_of_the_input_gives_the_same_output(start: bytes, dialogue: bytes, data: st.DataObject) -> None:
    """P-026, P-275, P-278: replies, events, deletions and statistics."""
    octets = start + dialogue
    limits = SessionLimits(line=40, dropped=200)
    whole, pieces = World(*MESSAGES, limits=limits), World(*MESSAGES, limits=limits)
    edges = sorted(data.draw(st.sets(st.integers(0, len(octets)))))
    sent = whole.send(octets)
    sent_in_pieces = b"".join(
        [pieces.send(octets[a:b]) for a, b in zip([0, *edges], [*edges, len(octets)], strict=True)]
    )
    assert sent_in_pieces == sent
    assert pieces.events == whole.events
    assert pieces.updated == whole.updated
    assert pieces.session.statistics == whole.session.statistics
    assert pieces.over() == whole.over()


def test_a_whole_session_in_one_segment() -> None:
    """P-276, P-162."""
    world = World(*MESSAGES)
    sent = world.send(b"USER bob\r\nPASS secret\r\nSTAT\r\nDELE 2\r\nQUIT\r\n")
    assert [line[:4] for line in sent.splitlines()] == [b"+OK "] * 5
    assert world.updated == frozenset({2})


def test_after_a_failed_pass_what_follows_is_judged_in_authorization() -> None:
    """P-276: DELE is refused, never executed."""
    world = World(*MESSAGES)
    sent = world.send(b"USER bob\r\nPASS wrong\r\nDELE 1\r\nQUIT\r\n")
    assert [line[:4] for line in sent.splitlines()] == [b"+OK ", b"-ERR", b"-ERR", b"+OK "]
    assert world.updated is None


def test_a_client_that_does_not_read_is_not_answered_without_end() -> None:
    """P-277: no more than the limit and one reply are queued; the rest waits, unparsed, in its order."""
    session = World(*MESSAGES).login().session
    session._limits = SessionLimits(output=1000)
    session.receive_data(b"NOOP\r\n" * 10_000)
    assert session.next_event() is None
    waiting = session.input_octets
    assert waiting > 50_000
    assert session.next_event() is None
    assert session.input_octets == waiting
    sent = b""
    while data := session.data_to_send():
        assert len(data) < 1100
        sent += data
        session.next_event()
    assert sent == b"+OK nothing done\r\n" * 10_000


def test_a_client_with_much_to_say_has_its_turn_and_waits_for_the_next() -> None:
    """P-295: so many commands at a time, then the others."""
    session = World(*MESSAGES, limits=SessionLimits(turn=10)).login().session
    before = session.commands
    session.receive_data(b"NOOP\r\n" * 25)
    for handled, unfinished in ((10, True), (20, True), (25, False), (25, False)):
        assert session.next_event() is None
        assert (session.commands - before, session.unfinished) == (handled, unfinished)
    assert session.data_to_send() == b"+OK nothing done\r\n" * 25


def test_input_before_the_greeting_is_not_lost() -> None:
    """P-024."""
    session = Session(Features("mail.example.org"))
    session.receive_data(b"CAPA\r\n")
    session.next_event()
    assert session.data_to_send().startswith(
        b"+OK mail.example.org POP3 server ready; HELP lists the commands\r\n+OK cap"
    )

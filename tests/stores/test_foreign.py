"""Lists of ids that other servers keep beside the mail; tests/interop tries them against these servers."""

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.stores.maildir import foreign, names
from restante.stores.maildir.foreign import courier, dotlock
from restante.stores.maildir.foreign.dotlock import dot_lock
from restante.stores.maildir.foreign.uidl_format import UidlFormat

VALUES = {"uid": "26", "uidvalidity": "1234567890", "filename": "1700000001.M1.host,S=9", "guid": "abc"}

# -- formats ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uidl_format", "expected"),
    [
        ("", "0000001a499602d2"),
        ("%{uid | hex(8)}%{uidvalidity | hex(8)}", "0000001a499602d2"),
        ("%{uidvalidity}.%{uid}", "1234567890.26"),
        ("%{uid|hex}", "1a"),
        ("%{uid | hex(-4)}", "1a00"),
        ("%{uidvalidity | hex(4)}%{uid}", "02d226"),
        ("%{filename}", "1700000001.M1.host,S=9"),
        ("%{guid | upper}", "ABC"),
        ("%{guid | md5}", "900150983cd24fb0d6963f7d28e17f72"),
        ("%{guid | md5 | hexlify(8)}", "90015098"),
        ("%{guid | sha1 | hexlify}", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("%{guid | sha256 | substr(0, 2)}", "ba78"),
        ("%{filename | reverse | truncate(5)}", "9=S,t"),
        ("%{filename | substr(11, 2) | lower}-%u", "m1-26"),
        ("%{uid}%%%08Xv", "26%499602d2"),
    ],
)
def test_formats(uidl_format: str, expected: str) -> None:
    """P-128: the spelling of Dovecot 2.4, as its documentation has it."""
    assert UidlFormat(uidl_format).expand(VALUES) == expected


@pytest.mark.parametrize(
    ("uidl_format", "text"),
    [
        ("%m", "over the wire"),
        ("%08Xv", "one id"),
        ("plain", "one id"),
        ("%u%q", "'q'"),
        ("%u%", "from '%' on"),
        ("%u%-", "from '%-' on"),
        ("%u%{", "from '%{' on"),
        ("%{user}", "'user'"),
        ("%{md5}", "over the wire"),
        ("%{uid | rot13}", "'rot13'"),
        ("%{uid | hex(x)}", "'hex(x)'"),
        ("%{uid | upper(3)}", "number of arguments"),
        ("%{uid | truncate}", "number of arguments"),
    ],
)
def test_formats_that_are_wrong(maildir: Path, uidl_format: str, text: str) -> None:
    """One line that says what would be right."""
    (maildir / "dovecot-uidlist").write_text("3 V1 N2\n1 :a\n", encoding="ascii")
    for wrong in (
        lambda: foreign.read(str(maildir), "dovecot", uidl_format),
        lambda: foreign.assign(str(maildir), "dovecot", uidl_format, ["a"]),
    ):
        with pytest.raises(ValueError, match="pop3_uidl_format") as caught:
            wrong()
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)


# -- Dovecot ----------------------------------------------------------------------------------------


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    path = tmp_path / "Maildir"
    for part in ("tmp", "new", "cur"):
        (path / part).mkdir(parents=True)
    return path


def put(maildir: Path, name: str, text: bytes = b"Subject: x\n\nx\n", when: int = 0) -> Path:
    path = maildir / ("cur" if ":" in name else "new") / name
    path.write_bytes(text)
    if when:
        os.utime(path, (when, when))
    return path


def uidlist(maildir: Path, text: str) -> Path:
    path = maildir / "dovecot-uidlist"
    path.write_text(text, encoding="utf-8")
    return path


def pairs(maildir: Path, source: str, uidl_format: str = "") -> list[tuple[str, str]]:
    return [(base, unique_id) for base, unique_id in foreign.read(str(maildir), source, uidl_format)]


def test_only_what_is_there_is_returned(maildir: Path) -> None:
    """Neither messages that have gone nor those that Dovecot has not seen yet."""
    put(maildir, "b:2,S")
    put(maildir, "c")
    put(maildir, ".hidden")
    uidlist(maildir, "3 V10 N9\n1 :a\n5 W9 :b\n6 :.hidden\n")
    assert pairs(maildir, "dovecot", "%u") == [("b", "5")]


@pytest.mark.parametrize(
    "text",
    [
        "1 10 9\n3 b\n5 c:2,S\n",
        "2 10 9\n3 0 b\n5 12 c:2,S\n",
        "3 V10 N9 G0123456789abcdef0123456789abcdef\n3 :b\n5 G1 W3 :c:2,S\n",
        "3 N9 V10 X1\n3 :b\n5 :c\n8 :be",
    ],
)
def test_versions_of_the_list(maildir: Path, text: str) -> None:
    """1, 2 and 3; in the last one a line is just being written."""
    put(maildir, "b")
    put(maildir, "c:2,")
    uidlist(maildir, text)
    assert pairs(maildir, "dovecot", "%v.%u") == [("b", "10.3"), ("c", "10.5")]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ":1: "),
        ("4 V1 N1\n", ":1: "),
        ("3 V1\n", ":1: "),
        ("3 V1 Nx\n", ":1: "),
        ("3 V0 N1\n", ":1: "),
        ("1 10\n", ":1: "),
        ("3 V1 N3\n1 :a\nx :b\n", ":3: "),
        ("3 V1 N3\n1 :a\n2\n", ":3: "),
        ("3 V1 N3\n1 :a\n2 :\n", ":3: "),
        ("3 V1 N3\n1 a\n", ":2: "),
        ("3 V1 N3\n2 :a\n1 :b\n", ":3: "),
        ("3 V1 N3\n4294967295 :a\n", ":2: "),
        ("1 10 3\n1\n", ":2: "),
    ],
)
def test_damaged_lists(maildir: Path, text: str, place: str) -> None:
    """File and line come first; nothing is written."""
    path = uidlist(maildir, text)
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as caught:
        foreign.read(str(maildir), "dovecot")
    assert str(caught.value).startswith(f"{path}{place}")
    with pytest.raises(OSError, match="dovecot-uidlist"):
        foreign.assign(str(maildir), "dovecot", "", ["new"])
    assert path.read_text(encoding="utf-8") == text
    assert not (maildir / "dovecot-uidlist.lock").exists()


def test_a_file_that_has_come_back(maildir: Path) -> None:
    """Dovecot gives it a new uid, and the old line is void."""
    put(maildir, "a:2,")
    uidlist(maildir, "3 V10 N4\n1 :a\n2 :b\n3 :a\n")
    assert pairs(maildir, "dovecot", "%u") == [("a", "3")]


def test_equal_ids(maildir: Path) -> None:
    """``pop3_uidl_duplicates = rename``: counted on in the order of the uids, also behind ids that look like it."""
    for name in "abcde":
        put(maildir, name)
    uidlist(maildir, "3 V1 N9\n1 Px :a\n2 Px-2 :b\n3 Px O1 :c\n4 Px :d\n5 P :e\n")
    assert pairs(maildir, "dovecot") == [("c", "x-2-2"), ("a", "x"), ("b", "x-2"), ("d", "x-3"), ("e", "e")]


def test_uids_rise_from_header_and_lines(maildir: Path) -> None:
    """Whichever is higher: messages that were removed leave no line."""
    path = uidlist(maildir, "3 V10 N9\n1 :a\n")
    assert foreign.assign(str(maildir), "dovecot", "%u", ["b", "a", "c", "b"]) == {"b": "9", "a": "1", "c": "10"}
    assert path.read_text(encoding="utf-8") == "3 V10 N9\n1 :a\n9 :b\n10 :c\n"
    assert foreign.assign(str(maildir), "dovecot", "%u", ["d"]) == {"d": "11"}
    assert foreign.assign(str(maildir), "dovecot", "%u", []) == {}


def test_ids_that_cannot_be(maildir: Path) -> None:
    """P-123: in their place come ids of ours, for a message must not stay hidden."""
    uidlist(maildir, "3 V10 N9\n1 Pa\u00e4 :a\n")
    bases = ["a", "x" * 71, "d\u00fc", "b"]
    expected = {"a": "a", "x" * 71: names.unique_id("x" * 71), "d\u00fc": names.unique_id("d\u00fc"), "b": "b"}
    assert foreign.assign(str(maildir), "dovecot", "%f", bases) == expected
    assert len(set(expected.values())) == 4


def test_the_last_uid(maildir: Path) -> None:
    path = uidlist(maildir, "3 V10 N4294967294\n")
    assert foreign.assign(str(maildir), "dovecot", "%u", ["a"]) == {"a": "4294967294"}
    with pytest.raises(OSError, match="no uid is left"):
        foreign.assign(str(maildir), "dovecot", "%u", ["b"])
    assert path.read_text(encoding="utf-8") == "3 V10 N4294967294\n4294967294 :a\n"


def test_an_old_list_is_written_anew(maildir: Path) -> None:
    """With the rights it had; as Dovecot does when it adds something."""
    path = uidlist(maildir, "1 10 9\n3 b\n")
    path.chmod(0o640)
    assert foreign.assign(str(maildir), "dovecot", "%u", ["c"]) == {"c": "9"}
    assert path.read_text(encoding="utf-8") == "3 V10 N9\n3 :b\n9 :c\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(entry.name for entry in maildir.iterdir()) == ["cur", "dovecot-uidlist", "new", "tmp"]


def test_nothing_from_that_server(maildir: Path) -> None:
    for source, name in (("dovecot", "dovecot-uidlist"), ("courier", "courierpop3dsizelist")):
        with pytest.raises(FileNotFoundError, match=name):
            foreign.read(str(maildir), source)
        with pytest.raises(FileNotFoundError, match=name):
            foreign.assign(str(maildir), source, "", ["a"])
    assert sorted(entry.name for entry in maildir.iterdir()) == ["cur", "new", "tmp"]


def test_sources_that_are_none(maildir: Path) -> None:
    with pytest.raises(ValueError, match="right are dovecot, courier, filename, x-uidl"):
        foreign.read(str(maildir), "cyrus")
    with pytest.raises(ValueError, match="right are dovecot, courier"):
        foreign.assign(str(maildir), "filename", "", [])
    assert foreign.SOURCES == ("dovecot", "courier", "filename", "x-uidl")
    assert foreign.FOLLOWED == ("dovecot", "courier")
    for source in ("courier", "filename", "x-uidl"):
        with pytest.raises(ValueError, match="Dovecot"):
            foreign.read(str(maildir), source, "%u")


def test_a_full_disk_leaves_the_list_as_it_was(maildir: Path) -> None:
    """Half a line would make Dovecot renumber everything: what was written of it is taken back."""
    path = uidlist(maildir, "3 V10 N9\n1 :a\n")
    before = path.read_text(encoding="utf-8")
    script = f"""
import resource, signal
from restante.stores.maildir import foreign
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 20}, {resource.RLIM_INFINITY}))
try:
    foreign.assign({str(maildir)!r}, "dovecot", "", ["x" * 60])
except OSError as error:
    print(error.strerror)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout == "File too large\n"
    assert path.read_text(encoding="utf-8") == before
    assert not (maildir / "dovecot-uidlist.lock").exists()


# -- the lock ---------------------------------------------------------------------------------------


@pytest.fixture
def path(maildir: Path) -> Path:
    return uidlist(maildir, "3 V10 N9\n")


def lock_of(path: Path, text: str, age: float = 0, age_of_list: float = 0) -> Path:
    lock = path.with_name(f"{path.name}.lock")
    lock.write_text(text, encoding="ascii")
    now = time.time()
    os.utime(lock, (now - age, now - age))
    os.utime(path, (now - age_of_list, now - age_of_list))
    return lock


def dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait(30)
    return process.pid


@pytest.fixture
def living_process() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.send_signal(signal.SIGKILL)
    process.wait(30)


def test_what_the_lock_says(path: Path) -> None:
    """Dovecot reads it, also when it runs as somebody else, whatever our umask."""
    before = os.umask(0o077)
    try:
        with dot_lock(str(path)):
            lock = path.with_name(f"{path.name}.lock")
            assert lock.read_text(encoding="ascii") == f"{os.getpid()}:{socket.gethostname()}"
            assert stat.S_IMODE(lock.stat().st_mode) == 0o644
    finally:
        os.umask(before)
    assert not lock.exists()


def test_a_lock_is_waited_for(path: Path) -> None:
    """M-011."""
    lock = lock_of(path, "")
    result: dict[str, str] = {}
    thread = threading.Thread(
        target=lambda: result.update(foreign.assign(str(path.parent), "dovecot", "%u", ["a"])), daemon=True
    )
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    lock.unlink()
    thread.join(30)
    assert result == {"a": "9"}


@pytest.mark.parametrize("age", [0, 60, 10_000])
def test_locks_of_the_living(path: Path, age: float, living_process: int) -> None:
    """Dovecot may take its time; we do not wait for ever."""
    lock = lock_of(path, f"{living_process}:{socket.gethostname()}", age, age)
    with pytest.raises(TimeoutError, match="another program holds this lock"), dot_lock(str(path), 0):
        pass
    assert lock.exists()


def test_locks_of_the_dead(path: Path) -> None:
    """They died on this machine: nobody will remove it but us."""
    lock = lock_of(path, f"{dead_process()}:{socket.gethostname()}", 3)
    with dot_lock(str(path), 0):
        assert lock.read_text(encoding="ascii").startswith(f"{os.getpid()}:")
    assert not lock.exists()


def test_young_locks_are_left_alone(path: Path) -> None:
    """Whoever has made it may not have written yet who he is."""
    lock_of(path, f"{dead_process()}:{socket.gethostname()}")
    with pytest.raises(TimeoutError), dot_lock(str(path), 0):
        pass


@pytest.mark.parametrize("text", ["", "77:another.host", "rubbish", f"0:{socket.gethostname()}"])
def test_locks_of_nobody_we_know(path: Path, text: str) -> None:
    """They are void when neither lock nor list has changed for two minutes, as for Dovecot."""
    for age, age_of_list in ((60, 10_000), (10_000, 60)):
        lock_of(path, text, age, age_of_list)
        with pytest.raises(TimeoutError), dot_lock(str(path), 0):
            pass
    lock_of(path, text, 130, 130)
    with dot_lock(str(path), 0):
        pass


def test_a_lock_that_was_overridden(path: Path) -> None:
    """It is somebody else's then, and stays."""
    with dot_lock(str(path)):
        lock = path.with_name(f"{path.name}.lock")
        lock.rename(path.with_name("aside"))
        lock_of(path, "other")
    assert lock.read_text(encoding="ascii") == "other"


# -- Courier ----------------------------------------------------------------------------------------


def sizelist(maildir: Path, text: str) -> Path:
    path = maildir / "courierpop3dsizelist"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ":1: "),
        ("/1 5\n", ":1: "),
        ("/3 5\n", ":1: "),
        ("/3 x 1\n", ":1: "),
        ("/4 5 1\n", ":1: "),
        ("/3 5 1\na 17 1:1:0\nb 17\n", ":3: "),
        ("/3 5 1\na 17 x:1:0\n", ":2: "),
        ("/3 5 1\n 17 1:1:0\n", ":2: "),
    ],
)
def test_damaged_lists_of_courier(maildir: Path, text: str, place: str) -> None:
    put(maildir, "new")
    path = sizelist(maildir, text)
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as caught:
        foreign.read(str(maildir), "courier")
    assert str(caught.value).startswith(f"{path}{place}")
    with pytest.raises(OSError, match="courierpop3dsizelist"):
        foreign.assign(str(maildir), "courier", "", ["new"])
    assert path.read_text(encoding="utf-8") == text


def test_whoever_loses_an_entry_loses_no_id(maildir: Path) -> None:
    """Courier had read the list before we wrote, and writes it back: the number is given again, the id is not."""
    put(maildir, "1.a")
    put(maildir, "2.b")
    path = sizelist(maildir, "/3 7 100\n")
    first = foreign.assign(str(maildir), "courier", "", ["1.a"])
    path.write_text("/3 7 100\n", encoding="ascii")
    second = foreign.assign(str(maildir), "courier", "", ["2.b"])
    assert first["1.a"].startswith("UID7-")
    assert second["2.b"].startswith("UID7-")
    assert first["1.a"] != second["2.b"]
    assert not {first["1.a"], second["2.b"]} & {"UID7-100"}


def test_messages_without_a_place_in_the_list(maildir: Path) -> None:
    """Those that have gone, and names that would break it."""
    put(maildir, "1.a:2,S")
    put(maildir, "2.\nb")
    path = sizelist(maildir, "/3 7 100\nspace in name:2,RS 17 3:100:0\n")
    put(maildir, "space in name:2,S")
    given = foreign.assign(str(maildir), "courier", "", ["gone", "2.\nb", "1.a", "space in name"])
    assert list(given) == ["space in name", "1.a", "2.\nb"]
    assert given["2.\nb"] == names.unique_id("2.\nb")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[1] == "space in name:2,RS 17 3:100:0"
    assert lines[2].startswith("1.a:2,S 17 7:")


@pytest.mark.parametrize(
    ("text", "octets", "utf8"),
    [
        (b"", 0, False),
        (b"Subject: x\n\n\xff\n", 17, False),
        (b"Subject: \xff\n\nx\n", 17, True),
        (b"Subject: x\n\n" + b"x" * 300_000 + b"\n\xff\n", 300_019, False),
        (b"X: " + b"x" * 300_000 + b"\nY: \xff\n\nx", 300_014, True),
        (b"\n\xff\n", 5, False),
    ],
)
def test_what_courier_counts(maildir: Path, text: bytes, octets: int, utf8: bool) -> None:
    put(maildir, "1.a", text)
    path = sizelist(maildir, "/3 7 100\n")
    foreign.assign(str(maildir), "courier", "", ["1.a"])
    fields = path.read_text(encoding="ascii").splitlines()[1].split(" ")
    assert fields[1] == str(octets)
    assert fields[2].endswith(f":{utf8:d}")


def test_a_list_that_others_keep_writing(maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of theirs is overwritten, and in the end we give up."""
    put(maildir, "1.a")
    path = sizelist(maildir, "/3 7 100\n")
    count = 0
    measure = courier._measure

    def meanwhile(name: str) -> tuple[int, bool]:
        nonlocal count
        count += 1
        path.write_text(f"/3 {7 + count} 100\n", encoding="ascii")
        os.utime(path, ns=(count, count))
        return measure(name)

    monkeypatch.setattr(courier, "_measure", meanwhile)
    with pytest.raises(TimeoutError):
        foreign.assign(str(maildir), "courier", "", ["1.a"])
    assert path.read_text(encoding="ascii") == f"/3 {7 + count} 100\n"
    assert list((maildir / "tmp").iterdir()) == []


# -- file names and header fields -------------------------------------------------------------------


def test_file_names(maildir: Path) -> None:
    """P-128: as qmail-pop3d has them, by the time of the file, then by the name."""
    put(maildir, "1700000003.c:2,S", when=1_700_000_001)
    put(maildir, "1700000002.b", when=1_700_000_009)
    put(maildir, "1700000001.M5P1.a", when=1_700_000_009)
    put(maildir, "1700000001.M10P1.a", when=1_700_000_009)
    assert pairs(maildir, "filename") == [
        (name, name) for name in ("1700000003.c", "1700000001.M5P1.a", "1700000001.M10P1.a", "1700000002.b")
    ]


@pytest.mark.parametrize(
    ("text", "unique_id"),
    [
        (b"From: a\nX-UIDL: abc123\nTo: b\n\nx\n", "abc123"),
        (b'x-uidl:\t!"#$%&  \r\nTo: b\r\n\r\nx\r\n', '!"#$%&'),
        (b"X-UIDL:\n folded\n\nx", "folded"),
        (b"X-UIDL: first\nX-UIDL: second\n\n", "first"),
        (b"X-UIDL: no blank line", "no blank line"),
    ],
)
def test_header_fields(maildir: Path, text: bytes, unique_id: str) -> None:
    """P-128."""
    put(maildir, "1.a", text)
    put(maildir, "2.b", b"Subject: none\n\nX-UIDL: body\n")
    put(maildir, "3.c", b"X-UIDL: \n\n")
    assert pairs(maildir, "x-uidl") == [("1.a", unique_id)]


def test_no_header_field_at_all(maildir: Path) -> None:
    put(maildir, "2.b", b"Subject: none\nNot-X-UIDL: x\n\nX-UIDL: body\n")
    with pytest.raises(FileNotFoundError, match="X-UIDL"):
        foreign.read(str(maildir), "x-uidl")


def test_a_name_that_is_just_changing(maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M-006: a listing may miss it, so it is looked for again."""
    put(maildir, "1.a:2,")
    put(maildir, "2.b:2,")
    uidlist(maildir, "3 V1 N9\n1 :1.a\n2 :2.b\n")
    scandir = os.scandir
    missing = [True]

    def once_without(path: str) -> "os._ScandirIterator[str]":
        if path.endswith("cur") and missing:
            missing.pop()
            (maildir / "cur" / "2.b:2,").rename(maildir / "aside")
            entries = scandir(path)
            found = list(entries)
            (maildir / "aside").rename(maildir / "cur" / "2.b:2,S")
            return _Listed(found)  # type: ignore[return-value]
        return scandir(path)

    monkeypatch.setattr(os, "scandir", once_without)
    assert [base for base, _ in pairs(maildir, "dovecot")] == ["1.a", "2.b"]


class _Listed:
    def __init__(self, entries: "list[os.DirEntry[str]]") -> None:
        self._entries = entries

    def __enter__(self) -> "Iterator[os.DirEntry[str]]":
        return iter(self._entries)

    def __exit__(self, *_: object) -> None:
        pass


def test_whether_it_would_work(maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked with no names, before anybody relies on it; nothing is changed."""
    path, sizes = uidlist(maildir, "3 V1 N2\n"), sizelist(maildir, "/3 7 100\n")
    for source in foreign.FOLLOWED:
        assert foreign.assign(str(maildir), source, "", []) == {}
    monkeypatch.setattr(dotlock, "PATIENCE", 0.0)
    lock_of(path, "")
    (maildir / "tmp").rmdir()
    with pytest.raises(TimeoutError):
        foreign.assign(str(maildir), "dovecot", "", [])
    with pytest.raises(PermissionError, match="cannot be written"):
        foreign.assign(str(maildir), "courier", "", [])
    assert (path.read_text(encoding="ascii"), sizes.read_text(encoding="ascii")) == ("3 V1 N2\n", "/3 7 100\n")

"""Listeners for mail that comes in, and the table [intake]."""

from pathlib import Path

import pytest

from restante.config import Configuration, ConfigurationError

_REST = """
[[auth]]
kind = "passwd-file"
path = "users"
[store]
kind = "maildir"
path = "mail/{user}"
"""


def read(folder: Path, text: str) -> Configuration:
    (folder / "users").write_text("bob:{PLAIN}secret\n", encoding="ascii")
    path = folder / "restante.toml"
    path.write_text(text + _REST, encoding="utf-8")
    return Configuration(path)


def listener(more: str) -> str:
    return f"[[listener]]\n{more}\n"


def test_lmtp_over_a_unix_socket(tmp_path: Path) -> None:
    """D-021: mode 0660 unless told otherwise; a relative path is relative to the file."""
    made = read(tmp_path, listener('protocol = "lmtp"\naddress = "unix:lmtp"')).listeners[0]
    assert (made.address.path, made.mode, made.group) == (str(tmp_path / "lmtp"), 0o660, -1)
    made = read(tmp_path, listener('protocol = "lmtp"\naddress = "unix:lmtp"\nmode = "600"')).listeners[0]
    assert made.mode == 0o600


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('protocol = "lmtp"\naddress = "127.0.0.1:25"', "address: port 25 is for SMTP"),  # D-001
        ('protocol = "lmtp"\naddress = "0.0.0.0:24"', "address: LMTP beyond this machine needs networks"),
        ('protocol = "smtp"\naddress = "0.0.0.0:25"\nnetworks = ["10.0.0.0/8"]', "networks: is for"),
        ('protocol = "lmtp"\naddress = "127.0.0.1:24"\nnetworks = ["x"]', "networks: 'x' does not appear"),
        ('protocol = "lmtp"\naddress = "unix:a"\nmode = "rw"', 'mode: "rw" is none; "0660"'),
        ('protocol = "lmtp"\naddress = "unix:a"\ngroup = "no such"', 'group: there is no group "no such"'),
    ],
)
def test_wrong_listeners(tmp_path: Path, more: str, said: str) -> None:
    """D-021."""
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, listener(more))
    assert said in str(caught.value)


def test_lmtp_for_named_networks(tmp_path: Path) -> None:
    """D-021."""
    text = listener('protocol = "lmtp"\naddress = "0.0.0.0:24"\nnetworks = ["192.0.2.0/24"]')
    assert [str(network) for network in read(tmp_path, text).listeners[0].door.networks] == ["192.0.2.0/24"]


def test_intake(tmp_path: Path) -> None:
    """D-010, D-016."""
    smtp = listener('protocol = "smtp"\naddress = "127.0.0.1:1025"')
    desk = read(tmp_path, smtp).desk
    assert (desk.size, desk.recipients, desk.full_is_final) == (256 << 20, 1000, False)
    desk = read(tmp_path, smtp + '[intake]\nmessage_size = "0"\nrecipients = 100\nfull = "refuse"\n').desk
    assert (desk.size, desk.recipients, desk.full_is_final) == (0, 100, True)
    with pytest.raises(ConfigurationError, match='message_size: "1X" is no number of octets'):
        read(tmp_path, smtp + '[intake]\nmessage_size = "1X"\n')

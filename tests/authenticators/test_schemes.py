"""Password hashes: those of ``doveadm pw`` verify here, and ours verify there."""

import ast
import re
import shutil
import subprocess
import traceback
from pathlib import Path

import pytest

from restante.authenticators import schemes

PASSWORD = b"wonder land 7"
WRONG = b"Wonder land 7"

# Written by `doveadm pw -s SCHEME -p 'wonder land 7'` of Dovecot 2.3.19.
RECORDED = {
    "PLAIN": "{PLAIN}wonder land 7",
    "PLAIN.HEX": "{PLAIN.HEX}776f6e646572206c616e642037",
    "PLAIN.B64": "{PLAIN.b64}d29uZGVyIGxhbmQgNw==",
    "CLEARTEXT": "{CLEARTEXT}wonder land 7",
    "SCRAM-SHA-1": "{SCRAM-SHA-1}4096,8M40CTP+Ota4pfxm5NkWJw==,3A8saWUkLqdIVJrnHews4xHswE8=,"
    "I9TdAs/JvtCMXOxccFP/Z0Qe1To=",
    "SCRAM-SHA-256": "{SCRAM-SHA-256}4096,fIBudwyWBNzL/RUZKjWUsQ==,Or6F9tbqCpjXBP3cY6pFSejilWlcz4SXDecP/8McsO4=,"
    "VkVMyRsrEc2BXSf0oHWeXQC0xaHrLq4XkMCSR5Mf+kk=",
    "CRYPT": "{CRYPT}$2y$05$RFwJUaOBndY70B5jSEBu...hKuACxJgXx0ARFuYORb4CGCDk7ag1y",
    "CRYPT of DES": "{CRYPT}It3zaPgCsy6cU",
    "no scheme": (
        "$6$rDgXjTtEKpOGZsyI$R/GqLXL3umMbVin0JIR8Rm3Ku56YB6if3W/YiESjw.J/w94SfQ0Fs/uvweyvGS2Yze6nAxtXE7noDnXeugeJq/"
    ),
    "SHA256-CRYPT": "{SHA256-CRYPT}$5$iWuLQHvw3LlJ.rUq$8wBmLZ48oRepI2YruHK0lD6X49BCFleB0bBQPkMkFIC",
    "SHA256-CRYPT, rounds": (
        "{SHA256-CRYPT}$5$rounds=7000$RNKk/UVfzlsGpnkq$nGkDsHzIAn.lEu87It/Hp6duzpuKhCOjW7IcBiwS4U1"
    ),
    "SHA512-CRYPT": (
        "{SHA512-CRYPT}$6$rDgXjTtEKpOGZsyI$"
        "R/GqLXL3umMbVin0JIR8Rm3Ku56YB6if3W/YiESjw.J/w94SfQ0Fs/uvweyvGS2Yze6nAxtXE7noDnXeugeJq/"
    ),
    "SHA512-CRYPT, rounds": (
        "{SHA512-CRYPT}$6$rounds=6000$FgpogfSrNsIqRBZD$"
        "K2IlHiUOcsPFsH8iJjyn0F952fWOeMLan7.fW4fu6JChIyi6MwuN.1RK4vwkHvuZngqRQI5UzUeCUAEFWCFBs1"
    ),
    "BLF-CRYPT": "{BLF-CRYPT}$2y$05$nN3U0cX03.EnsJOPc8LDHeIgtHEzNC7lCBP.Wi5fVhnXU0Dg0AkJ6",
    "BLF-CRYPT, rounds": "{BLF-CRYPT}$2y$04$NH/TOkEKaAQmIlKaRayIWuyvh9UX2lK2ANYqBI.4fUykTLaIkAx96",
    "ARGON2I": (
        "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$uR4Lr/DfTYJfydhe8QsZ0Q$Nn8m7YIDdu43DXOkwRIKYWDyrDbj1yICnlnVLuIlckQ"
    ),
    "ARGON2ID": (
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$VYe5p1fiCS8UgBfxg2PugQ$W25A7h8/9ajBWfXYLh+EXHVJ/yMz0DN0BnbHZePVsFs"
    ),
    "SSHA256": "{SSHA256}ySZrLUDl24tIfMTSuTQnf1VIcMTQX6+OCioKcupqxQoe3I3d",
    "SSHA256.HEX": "{SSHA256.HEX}56653790e865aab2bc10624e47bba684546d33ef6c64183e611e581dd26b0c92fa4c048b",
    "SSHA512": "{SSHA512}6ABtFfkDTYliyPCmdMlvUmZC6F6eVXJjAHgN1Bjku8hD8ZinJASEgttNMDaM+kbxBERnKiLGcFMMSLXNn3Iy7ZmcSz4=",
    "SSHA512.B64": (
        "{SSHA512.B64}vxXRRdyHJRHLOWGy9iARXB0xMTrkvyRNGVtvtkrmj1/uWEr0Cn6VoRGWQNxqp22oOj/Yznpx+rChDbm3FAdCYjxM2XU="
    ),
    "PBKDF2": "{PBKDF2}$1$KeeJ5EYILPsmg2lQ$5000$6a016aff30733bd8210e851f3a57e1e1a6a562e2",
    "PBKDF2, rounds": "{PBKDF2}$1$Bkhy7eyvWARw/yUT$1000$55a73d986597c4fc0d3f12989af101a21fd0899a",
}

FRESH = {
    "PLAIN": [],
    "CLEARTEXT": [],
    "CRYPT": [],
    "SHA256-CRYPT": ["-r", "7000"],
    "SHA512-CRYPT": ["-r", "6000"],
    "BLF-CRYPT": ["-r", "6"],
    "ARGON2I": ["-r", "4"],
    "ARGON2ID": [],
    "SSHA256": [],
    "SSHA512": [],
    "PBKDF2": ["-r", "1000"],
    "SSHA256.HEX": [],
    "SSHA512.B64": [],
    "PLAIN.HEX": [],
}

with_doveadm = pytest.mark.skipif(shutil.which("doveadm") is None, reason="doveadm (Debian: dovecot-core) is not here")
recorded = pytest.mark.parametrize("stored", RECORDED.values(), ids=RECORDED.keys())


def doveadm_pw(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["doveadm", "pw", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False
    )


@recorded
def test_recorded_hashes_verify(stored: str) -> None:
    """Every scheme: the right password and a wrong one."""
    parsed = schemes.parse(stored)
    assert schemes.supported(parsed)
    assert parsed.matches(PASSWORD)
    assert not parsed.matches(WRONG)


@recorded
def test_nul_ends_no_password(stored: str) -> None:
    """What C would take for the end of a string does not make a longer password the same one."""
    assert not schemes.parse(stored).matches(PASSWORD + b"\0more")


@with_doveadm
@pytest.mark.parametrize("scheme", FRESH)
def test_fresh_hashes_of_doveadm_verify(scheme: str) -> None:
    """Each time another salt, and other rounds than the recorded ones."""
    made = doveadm_pw("-s", scheme, *FRESH[scheme], "-p", PASSWORD.decode())
    if made.returncode:
        pytest.skip(f"this doveadm makes no {scheme}")
    parsed = schemes.parse(made.stdout.rstrip("\n"))
    assert parsed.scheme == scheme.partition(".")[0]
    assert parsed.matches(PASSWORD)
    assert not parsed.matches(WRONG)


@with_doveadm
@pytest.mark.parametrize("scheme", schemes.NEW_SCHEMES)
def test_doveadm_accepts_what_make_makes(scheme: str) -> None:
    stored = schemes.make(PASSWORD, scheme)
    assert doveadm_pw("-t", stored, "-p", PASSWORD.decode()).returncode == 0
    assert doveadm_pw("-t", stored, "-p", WRONG.decode()).returncode != 0


def test_make_makes_an_argon2id_hash_with_its_own_salt() -> None:
    first, second = schemes.make(PASSWORD), schemes.make(PASSWORD)
    assert first.startswith("{ARGON2ID}$argon2id$")
    assert first != second
    assert schemes.parse(first).matches(PASSWORD)
    assert not schemes.parse(first).matches(WRONG)


@pytest.mark.parametrize("prefix", ["{ssha256}", "{Ssha256}", "{SSHA256.b64}", "{SSHA256.base64}", "{ssha256.B64}"])
def test_case_of_scheme_and_encoding_is_free(prefix: str) -> None:
    stored = prefix + RECORDED["SSHA256"].removeprefix("{SSHA256}")
    assert schemes.parse(stored).matches(PASSWORD)


def test_an_empty_password_and_octets_outside_ascii_do_not_match() -> None:
    for scheme in ("PLAIN", "CRYPT", "SHA512-CRYPT", "BLF-CRYPT", "SSHA256", "PBKDF2"):
        assert not schemes.parse(RECORDED[scheme]).matches(b"")
        assert not schemes.parse(RECORDED[scheme]).matches(b"\xff" + PASSWORD)


def test_a_plain_password_may_hold_any_characters() -> None:
    """UTF-8, braces and spaces are part of it."""
    for password in ("{x}y", " a ", "süß"):
        assert schemes.parse("{PLAIN}" + password).matches(password.encode())


MALFORMED = {
    "unknown scheme": ("{ROT13}uryyb", "unknown password scheme {ROT13}; known are PLAIN,"),
    "empty": ("", "this is not what a {CRYPT} hash looks like"),
    "a bare password": ("uryyb", "this is not what a {CRYPT} hash looks like"),
    "empty PLAIN": ("{PLAIN}", "this is not what a {PLAIN} hash looks like"),
    "brace not closed": ("{PLAINuryyb", "this is not what a {CRYPT} hash looks like"),
    "no method": ("{SHA512-CRYPT}uryyb", "this is not what a {SHA512-CRYPT} hash looks like"),
    "other method": ("{SHA512-CRYPT}" + RECORDED["SHA256-CRYPT"][14:], "a {SHA512-CRYPT} hash looks like"),
    "SHA512-CRYPT cut": (RECORDED["SHA512-CRYPT"][:-1], "a {SHA512-CRYPT} hash looks like"),
    "BLF-CRYPT cut": (RECORDED["BLF-CRYPT"][:-1], "a {BLF-CRYPT} hash looks like"),
    "SSHA256 cut": (RECORDED["SSHA256"][:-1], "a {SSHA256} hash looks like"),
    "SSHA512 too short": ("{SSHA512}" + RECORDED["SSHA256"][9:], "a {SSHA512} hash looks like"),
    "SSHA256 not base64": ("{SSHA256}" + "!" * 48, "a {SSHA256} hash looks like"),
    "not hex": ("{SSHA256.HEX}uryyb", "this is not a {SSHA256.HEX} hash"),
    "not b64": ("{PLAIN.b64}uryyb", "this is not a {PLAIN.B64} hash"),
    "not UTF-8 inside": ("{PLAIN.HEX}ff", "this is not a {PLAIN.HEX} hash"),
    "ARGON2I for ARGON2ID": ("{ARGON2ID}" + RECORDED["ARGON2I"][9:], "a {ARGON2ID} hash looks like"),
    "ARGON2ID without parameters": ("{ARGON2ID}$argon2id$v=19$uryyb", "a {ARGON2ID} hash looks like"),
    "PBKDF2 of no rounds": (
        "{PBKDF2}$1$KeeJ5EYILPsmg2lQ$0$6a016aff30733bd8210e851f3a57e1e1a6a562e2",
        "a {PBKDF2} hash",
    ),
}


@pytest.mark.parametrize(("stored", "text"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_hashes_are_refused_without_showing_them(stored: str, text: str) -> None:
    """P-287: the text says what is wrong, never what the hash is."""
    with pytest.raises(schemes.SchemeError) as caught:
        schemes.parse(stored)
    assert text in str(caught.value)
    secret = stored.rpartition("}")[2]
    if secret:
        assert secret not in "".join(traceback.format_exception(caught.value))
        assert secret not in repr(caught.value)


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(schemes.SchemeError, match=r"unknown encoding .*; known are \.b64 and \.hex"):
        schemes.parse("{SSHA256.b32}uryyb")


@pytest.mark.parametrize(
    "stored",
    [
        "{SHA512-CRYPT}$6$rounds=1$salt$" + "a" * 86,
        "{SHA512-CRYPT}$6$sa:lt$" + "a" * 86,
        "{BLF-CRYPT}$2y$99$" + "a" * 53,
        "{CRYPT}$nosuchmethod$" + "a" * 40,
        "{CRYPT}*0aaaaaaaaaaa",
        "{ARGON2ID}$argon2id$v=19$m=1,t=0,p=0$AAAA$AAAA",
        "{ARGON2ID}$argon2id$v=99$m=65536,t=3,p=1$VYe5p1fiCS8UgBfxg2PugQ$W25A7h8",
        "{ARGON2I}$argon2i$v=19$m=99999999999999999999,t=3,p=1$VYe5p1fiCS8UgBfxg2PugQ$W25A7h8",
    ],
)
def test_what_looks_like_a_hash_but_is_none_matches_nothing(stored: str) -> None:
    """An answer, never an exception, whatever the library thinks of it."""
    assert not schemes.parse(stored).matches(PASSWORD)


def test_a_crypt_method_nobody_knows_is_not_supported() -> None:
    assert not schemes.supported(schemes.parse("{CRYPT}$nosuchmethod$" + "a" * 40))


@recorded
def test_textual_forms_hide_the_hash(stored: str) -> None:
    """P-287."""
    parsed = schemes.parse(stored)
    for text in (repr(parsed), str(parsed), f"{parsed}", repr([parsed]), repr({"users": parsed})):
        assert parsed.data not in text
        assert parsed.scheme in text


@pytest.mark.parametrize(
    "module", ["authenticators/schemes.py", "authenticators/passwd_file.py", "protocol/sasl/scram.py"]
)
def test_secrets_are_compared_in_constant_time(module: str) -> None:
    """P-289: where a proof is judged, nothing but lengths and kinds is compared by ``==``."""
    tree = ast.parse((Path(schemes.__file__).parent.parent / module).read_text(encoding="utf-8"))
    judges = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and re.match(r"_verify_|_proves", node.name)
    ]
    assert judges
    for judge in judges:
        compared = [node for node in ast.walk(judge) if isinstance(node, ast.Compare)]
        assert [ast.unparse(node) for node in compared if not re.search(r"\blen\(| in | is ", ast.unparse(node))] == []
        assert "compare_digest" in ast.unparse(judge) or "_NEW.verify" in ast.unparse(judge)

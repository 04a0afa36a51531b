"""What a server answers, and what that means (RFC 2449 section 8, RFC 3206)."""

import re

from restante.errors import (
    AuthenticationFailed,
    Condition,
    LoginDelayed,
    MaildropInUse,
    NeedsUtf8,
    PermanentFailure,
    TemporaryFailure,
    one_line,
)


class Refused(Condition):
    """A negative reply that gives no reason a program could understand."""


class ConnectionLost(TemporaryFailure):
    """The server cannot be reached, has closed or keeps silent; whatever was not confirmed did not happen (K-006)."""


class NotPop3(PermanentFailure):
    """What the server says is no POP3, or its certificate is not what it should be."""


class CleartextRefused(PermanentFailure):
    """The password would have to go over the line for everybody to read (K-014)."""


_CODES: dict[str, type[Condition]] = {
    "AUTH": AuthenticationFailed,
    "IN-USE": MaildropInUse,
    "LOGIN-DELAY": LoginDelayed,
    "UTF8": NeedsUtf8,
    "SYS": TemporaryFailure,
    "SYS/TEMP": TemporaryFailure,
    "SYS/PERM": PermanentFailure,
}
_CODE = re.compile(rb"\[([^\]]*)\] ?")


def refusal(line: bytes) -> Condition:
    """Return what a line that begins with ``-ERR`` means.

    Codes are compared without regard to case, and of an unknown deeper level the known part counts (K-004).  Only the
    code carries meaning: the text is for people (K-003).
    """
    text = line[len(b"-ERR") :].strip()
    words = one_line(text.decode("utf-8", "replace"))
    match = _CODE.match(text)
    levels = match[1].decode("ascii", "replace").upper().split("/") if match else []
    while levels:
        kind = _CODES.get("/".join(levels))
        if kind is not None:
            return kind(words)
        levels.pop()
    return Refused(words or "-ERR")

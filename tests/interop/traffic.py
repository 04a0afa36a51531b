"""One of several programs that work on one Maildir at the same time, at random, and write down what they did.

Run as ``python -m tests.interop.traffic ROLE MAIL PORT SEED OPERATIONS``: a line of JSON for each event.
"""

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from restante.errors import Condition
from restante.stores.maildir import MaildirStore
from tests.interop.foreign_servers import Imap, deliver
from tests.server.office import Client

SUBJECT = b"Subject: message "


def note(event: str, **details: Any) -> None:
    """Write down what was done; times are comparable between processes."""
    print(json.dumps({"event": event, "time": time.monotonic(), **details}), flush=True)


def subject(octets: bytes) -> str:
    """Return what tells the message from all others."""
    return octets.partition(SUBJECT)[2].split(b"\n")[0].strip().decode("ascii")


def deliveries(maildir: Path, _port: int, chance: random.Random, operations: int) -> None:
    """Deliver as Postfix does."""
    for number in range(operations):
        text = SUBJECT + b"%d\n\n" % number + b"body\n" * chance.randrange(20)
        deliver(maildir, f"{int(time.time())}.V1I{number}M{chance.randrange(10**6):06d}.host", text)
        note("delivered", subject=str(number))


def sessions(_maildir: Path, port: int, chance: random.Random, operations: int) -> None:
    """POP3 sessions that list, read and delete; some break off."""
    done = 0
    while done < operations:
        began = time.monotonic()
        with Client(("127.0.0.1", port)) as client:
            answer = client.login()
            if not answer.startswith(b"+OK "):
                assert answer.startswith((b"-ERR [IN-USE]", b"-ERR [SYS/TEMP]")), answer
                note("refused", answer=answer.decode("ascii"))
                continue
            done += 1
            client.ask(b"UIDL")
            ids = [line.split()[1].decode("ascii") for line in client.lines()]
            note("listed", began=began, ids=ids)
            marked = chance.sample(range(1, len(ids) + 1), min(len(ids), chance.randrange(4)))
            for number in marked:
                answer = client.ask(b"RETR %d" % number)
                if answer.startswith(b"+OK "):
                    note("read", id=ids[number - 1], subject=subject(b"".join(client.lines())))
                    done += 1
                client.ask(b"DELE %d" % number)
            if chance.random() < 0.3:
                note("broke off", ids=[ids[number - 1] for number in marked])
                continue
            note("marked", ids=[ids[number - 1] for number in marked])
            answer = client.ask(b"QUIT")
            assert answer.startswith(b"+OK "), answer
            note("quit", ids=[ids[number - 1] for number in marked])


def imap(_maildir: Path, port: int, chance: random.Random, operations: int) -> None:
    """Flags, and now and then an expunge, by Dovecot."""
    session = Imap(port)
    for _ in range(operations):
        (found,) = [line for line in session.ask("UID SEARCH ALL") if line.startswith("* SEARCH")]
        uids = found.split()[2:]
        if not uids:
            continue
        uid = chance.choice(uids)
        if chance.random() < 0.05:
            lines = session.ask(f"UID FETCH {uid} BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
            note("expunging", subject=subject("\n".join(lines).encode()))
            session.ask(f"UID STORE {uid} +FLAGS (\\Deleted)")
            session.ask(f"UID EXPUNGE {uid}")
        else:
            flag = chance.choice(["\\Seen", "\\Flagged", "\\Answered", "\\Draft"])
            session.ask(f"UID STORE {uid} {chance.choice('+-')}FLAGS ({flag})")
    session.close()


def undo(maildir: Path, _port: int, chance: random.Random, operations: int) -> None:
    """Bring deleted messages back, lose the index, and clear away."""
    store = MaildirStore(f"{maildir.parent}/{{user}}")

    restored = False

    async def once() -> None:
        nonlocal restored
        deleted = await store.deleted(maildir.name)
        if chance.random() < 0.05:
            (maildir / "restante/index").unlink(missing_ok=True)
        if chance.random() < 0.05:
            await store.keep_house()
        if deleted:
            chosen = chance.sample(list(deleted), min(len(deleted), chance.randrange(1, 4)))
            back = await store.restore(maildir.name, [one.unique_id for one in chosen])
            note("restored", ids=list(back))
            restored = restored or bool(back)

    done = 0
    while done < operations or not restored:  # the others may not have deleted anything yet
        try:
            asyncio.run(once())
            done += 1
        except Condition as error:
            note("refused", answer=type(error).__name__)
        os.sched_yield()


ROLES = {"deliveries": deliveries, "sessions": sessions, "imap": imap, "undo": undo}


if __name__ == "__main__":
    ROLES[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), random.Random(int(sys.argv[4])), int(sys.argv[5]))

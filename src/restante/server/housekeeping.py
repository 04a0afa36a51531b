"""Work that nobody waits for, done beside the sessions by one worker."""

import asyncio
import logging

from restante.errors import Condition
from restante.maildrop import Housekept
from restante.server.listener import Server

log = logging.getLogger("restante.server")

EVERY = 3600.0
"""Seconds between two rounds; the first one begins with the server, so that a crash leaves nothing for long."""


async def keep_house(server: Server) -> None:
    """Let the store clear away what is due, round after round, until cancelled."""
    while True:
        store = server.service.store
        if isinstance(store, Housekept):
            try:
                await store.keep_house()
            except Condition as error:  # the store says it to everybody who logs in, too
                log.warning("no house-keeping: %s", error)
            except Exception:  # a defect of ours, which must not end this for all maildrops and for good
                log.exception("house-keeping failed")
        await asyncio.sleep(EVERY)

"""The dispatcher of events, on a connection of asyncio."""

import asyncio
from contextlib import suppress

from qubesadmin import config, exc


class EventsDispatcher:
    def __init__(self, app, enable_cache=True):
        self.handlers = []

    def add_handler(self, event, handler):
        assert event == "*"
        self.handlers.append(handler)

    async def listen_for_events(self, vm=None, reconnect=True):
        assert not reconnect
        with suppress(OSError, exc.QubesDaemonCommunicationError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_unix_connection(config.QUBESD_SOCKET)
            writer.write(b"admin.Events+ dom0 name dom0\0")
            writer.write_eof()
            try:
                while True:
                    await self._one(reader)
            finally:
                writer.close()

    async def _one(self, reader):
        async def word():
            return (await reader.readuntil(b"\0"))[:-1].decode()

        if await word() != "1":
            raise exc.QubesDaemonCommunicationError("Non-event received")
        subject, event, pairs = await word(), await word(), {}
        while name := await word():
            pairs[name] = await word()
        for handler in self.handlers:
            handler(subject or None, event, **pairs)

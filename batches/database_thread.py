"""A thread of its own for the ORM, which must not run on an event loop."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connection

logger = structlog.get_logger(__name__)
T = TypeVar("T")

# The database may be away for so long before the caller has to live without it.
PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.5


class DatabaseThread:
    """One thread, so one connection, which is closed with it.

    `sync_to_async` would use threads of a pool, whose connections nobody closes.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name)

    async def run(self, query: Callable[[], T]) -> T:
        """Run `query`, which must do no harm when it is run twice.

        Raises:
            OperationalError, InterfaceError: the database was away for PATIENCE_SECONDS.
        """
        ends = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await self._on(query)
            except (OperationalError, InterfaceError) as error:
                if time.monotonic() > ends:
                    raise
                logger.warning("database away, trying again", why=str(error).strip())
                await self._on(_close_connection)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def close(self) -> None:
        await self._on(_close_connection)
        self._pool.shutdown()

    async def _on(self, task: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, task)


def _close_connection() -> None:
    """Close the connection of the thread that runs this: looked up here, it is that thread's."""
    connection.close()

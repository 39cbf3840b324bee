"""The database may be away for a while: what the engine asks of it is asked again."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from django.db import OperationalError, connection

from batches import database_thread
from batches.database_thread import DatabaseThread

pytestmark = pytest.mark.django_db(transaction=True)
T = TypeVar("T")


def run(query: Callable[[], T]) -> T:
    async def scenario() -> T:
        thread = DatabaseThread("tests")
        try:
            return await thread.run(query)
        finally:
            await thread.close()

    return asyncio.run(scenario())


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def test_a_query_whose_connection_is_cut_is_asked_again_on_another() -> None:
    seen: list[int] = []

    def query() -> str:
        seen.append(backend())
        if len(seen) < 3:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return "answered"

    assert run(query) == "answered"
    assert len(set(seen)) == 3


def test_a_database_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_thread, "PATIENCE_SECONDS", 1.0)

    def query() -> None:
        raise OperationalError("the server is starting up")

    began = time.monotonic()
    with pytest.raises(OperationalError, match="starting up"):
        run(query)

    assert time.monotonic() - began >= 1


def test_what_is_no_fault_of_the_database_surfaces_at_once() -> None:
    asked: list[int] = []

    def query() -> None:
        asked.append(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(query)

    assert asked == [1]


def test_its_connection_is_its_own_and_closes_with_it() -> None:
    ours = backend()
    found = run(lambda: (backend(), threading.get_ident()))

    assert found[0] != ours
    assert found[1] != threading.get_ident()
    with connection.cursor() as cursor:
        for _ in range(100):
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [found[0]])
            if not cursor.fetchone()[0]:
                return
            time.sleep(0.02)
    pytest.fail("its connection is still open")

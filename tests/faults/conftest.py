"""A model server as processes meet it, and how often batches came to an end."""

from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from pytest_django import Settings

from tests.processes_at_work import LOOPBACK
from tests.servers_http import ModelServer


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def server(running: ModelServer, settings: Settings) -> ModelServer:
    settings.EVALSCHED_PRIVATE_HOSTS = [LOOPBACK]
    running.reset()
    running.configure(latency_ms=100)
    return running


@pytest.fixture
def ends(transactional_db: None) -> Iterator[Callable[[], int]]:
    """Count how often a batch came to an end, in whichever process."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TABLE noted_ends (batch_id uuid);
            CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN INSERT INTO noted_ends VALUES (NEW.id); RETURN NULL; END';
            CREATE TRIGGER note_end AFTER UPDATE OF status ON batches_batch FOR EACH ROW
                WHEN (NEW.completed_at IS NOT NULL AND OLD.completed_at IS NULL)
                EXECUTE FUNCTION note_end();
            """
        )

    def count() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM noted_ends")
            return int(cursor.fetchone()[0])

    yield count
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER note_end ON batches_batch; DROP FUNCTION note_end()")
        cursor.execute("DROP TABLE noted_ends")

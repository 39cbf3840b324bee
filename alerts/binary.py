"""Rows in PostgreSQL's binary form: bytes as bytes, numbers and instants without being parsed."""

from collections.abc import Sequence
from typing import Any

import psycopg
from django.db import connection


def rows(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a SELECT in the current transaction and return its rows.

    Django's own cursors ask for text, in which each byte takes two characters.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        return cursor.execute(statement.encode(), values, binary=True).fetchall()

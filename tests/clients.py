"""A client of the API: paths below /api, bodies as JSON, and the whole of the middleware."""

import json
from collections.abc import Mapping
from typing import Any

from django.test import Client

from access.actors import Actor
from tests.factories import make_key


class Api(Client):
    """A program that calls the API. Answers are Django's, so `answer.json()` is the body."""

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send `method` to /api/`path` with `body` as JSON, or with `raw` as it stands."""
        if raw is None:
            raw = b"" if body is None else json.dumps(body).encode()
        return self.generic(method, f"/api/{path}", raw, content_type, headers=dict(headers or {}))

    def read(self, path: str, **headers: str) -> Any:
        return self.send("GET", path, headers=headers)

    def create(self, path: str, body: object = None, **headers: str) -> Any:
        return self.send("POST", path, body, headers=headers)

    def change(self, path: str, body: object) -> Any:
        return self.send("PATCH", path, body)

    def remove(self, path: str) -> Any:
        return self.send("DELETE", path)


def anonymous() -> Api:
    return Api()


def with_key(actor: Actor, *scopes: str) -> Api:
    """Return a client with a key of the actor's that reads and writes, or has those scopes."""
    _, text = make_key(actor, scopes=scopes or ("read", "write"))
    return Api(headers={"Authorization": f"Bearer {text}"})


def with_session(actor: Actor) -> Api:
    """Return a browser in which the actor's user has logged in, acting in the actor's project."""
    client = Api(headers={"X-Project-Id": str(actor.project.pk)})
    client.force_login(actor.user)
    return client

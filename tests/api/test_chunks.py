"""Bodies in chunks, without a length, as a real server hands them on."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from access.actors import Actor
from batches.models import TestCase, TestSuite
from tests.factories import make_actor, make_key, make_suite
from tests.processes_at_work import web

Served = tuple[int, Actor, str]


@pytest.fixture
def served(tmp_path: Path, transactional_db: None) -> Iterator[Served]:
    """A port where the service listens, somebody, and their key."""
    actor = make_actor()
    _, key = make_key(actor)
    with web(tmp_path, EVALSCHED_MAX_BODY_BYTES="10000") as (port, _):
        yield port, actor, key


def _post(served: Served, path: str, body: bytes, content_type: str) -> tuple[int, str]:
    port, _, key = served
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    pieces = (body[start : start + 7] for start in range(0, len(body), 7))
    headers = {"Authorization": f"Bearer {key}", "Content-Type": content_type}
    client.request("POST", f"/api/{path}", pieces, headers, encode_chunked=True)
    answer = client.getresponse()
    found = answer.status, answer.read().decode()
    client.close()
    return found


def _send_raw(served: Served, chunks: bytes) -> bytes:
    """Send the chunks as they stand, then nothing more, and return what is answered."""
    port, _, key = served
    head = (
        "POST /api/test-suites HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(head.encode() + chunks)
        client.shutdown(socket.SHUT_WR)
        # Head and body may come apart.
        return b"".join(iter(lambda: client.recv(65_536), b""))


@pytest.mark.processes
@pytest.mark.xdist_group("processes")
def test_a_body_in_chunks_is_taken_like_any_other(served: Served) -> None:
    _, actor, _ = served
    suite = make_suite(actor, cases=0)
    form = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="cases.jsonl"\r\n\r\n'
        b'{"key": "one", "prompt": "Say 1."}\r\n--x--\r\n'
    )

    made = _post(served, "test-suites", json.dumps({"name": "New"}).encode(), "application/json")
    sent = _post(served, f"test-suites/{suite.pk}/import", form, "multipart/form-data; boundary=x")

    assert made[0] == 201, made[1]
    assert TestSuite.objects.filter(project=actor.project, name="New").exists()
    assert sent[0] == 200, sent[1]
    assert TestCase.objects.filter(suite=suite, key="one").exists()


@pytest.mark.processes
@pytest.mark.xdist_group("processes")
def test_chunks_that_are_too_much_or_broken_are_refused(served: Served) -> None:
    _, actor, _ = served
    large = json.dumps({"name": "x" * 10_000}).encode()

    refused = _post(served, "test-suites", large, "application/json")
    malformed = _send_raw(served, b"zz\r\n{}\r\n0\r\n\r\n")
    ended = _send_raw(served, b'ff\r\n{"name":')

    assert refused[0] == 413
    for answer in (malformed, ended):
        assert b" 400 " in answer.splitlines()[0]
        assert b"malformed" in answer
    assert not TestSuite.objects.filter(project=actor.project).exists()

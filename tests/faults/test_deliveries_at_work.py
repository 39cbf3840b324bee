"""Real processes that die between the commit and the message: it arrives, under the same id."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.db.models import F
from pytest_django import Settings
from redis import Redis
from standardwebhooks import Webhook

from access import clock
from access.actors import Actor
from alerts import directory
from alerts.models import AlertType, Attempt, Channel, Event, Notification
from alerts.notifications import Happening, announce
from tests.alerts.mail_server import MailServer
from tests.alerts.receiver import Answer, Receiver
from tests.factories import make_actor
from tests.processes_at_work import LOOPBACK, ROOT, ticking, until, worker
from tests.servers import child_environment

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]

# Announces in a transaction, commits, and is killed where the hint would have gone out.
ANNOUNCES_AND_DIES = """
import os, signal, sys, uuid
import django
django.setup()
from django.db import transaction
from access import clock, hints
from access.models import User
from alerts.models import AlertType
from alerts.notifications import Happening, announce
hints._send = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with transaction.atomic():
    what = Happening(AlertType.EVALUATION_FAILED, "killed", "Evaluation failed", "It died.")
    author = User.objects.get(pk=sys.argv[2])
    announce(uuid.UUID(sys.argv[1]), author, what, now=clock.database_now())
sys.exit("it was not killed")
"""


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    settings.EVALSCHED_PRIVATE_HOSTS = [LOOPBACK]
    with Receiver() as server:
        yield server


def make_hook(receiver: Receiver, actor: Actor) -> tuple[Channel, str]:
    return directory.create(actor, kind="webhook", name="Ops", configuration={"url": receiver.url})


def tell(actor: Actor, key: str) -> None:
    what = Happening(AlertType.EVALUATION_FAILED, key, "Evaluation failed", "Why.")
    announce(actor.project.pk, actor.user, what, now=clock.database_now())


def wipe_redis() -> None:
    broker = django_settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://")
    with Redis.from_url(broker.replace("virtual_host=", "db=")) as redis:
        redis.flushdb()


def all_sent() -> bool:
    return not Notification.objects.exclude(status="sent").exists()


def test_a_process_killed_after_its_commit_has_announced(
    receiver: Receiver, tmp_path: Path
) -> None:
    actor = make_actor()
    _, secret = make_hook(receiver, actor)

    died = subprocess.run(
        [sys.executable, "-c", ANNOUNCES_AND_DIES, str(actor.project.pk), str(actor.user.pk)],
        cwd=ROOT,
        env=child_environment(str(connection.settings_dict["NAME"]))
        | {"DJANGO_SETTINGS_MODULE": "config.settings"},
        check=False,
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL
    before = dict(Notification.objects.values_list("kind", "pk"))
    assert set(before) == {"email", "webhook"}

    with (
        MailServer() as mailbox,
        worker(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{mailbox.port}") as running,
        ticking(),
    ):
        until(all_sent, what=running.said)

    (request,) = receiver.requests
    assert Webhook(secret).verify(request.body, request.headers)
    assert request.headers["webhook-id"] == str(before["webhook"])
    (mail,) = mailbox.mails
    assert str(before["email"]) in mail["Message-ID"]
    assert Event.objects.count() == 1


def test_a_worker_killed_while_it_sends_is_followed_by_another_with_the_same_id(
    receiver: Receiver, tmp_path: Path
) -> None:
    actor = make_actor(None)
    actor.user.email = ""
    _, secret = make_hook(receiver, actor)
    receiver.answer = Answer(hangs=True)
    with worker(tmp_path) as first, ticking():
        tell(actor, "a run")
        until(lambda: receiver.requests, what=first.said)
        first.kill()
    assert Notification.objects.get().status == "sending"

    receiver.answer = Answer(200)
    # What is left of its lease, and of its turn at the channel, passes.
    Notification.objects.update(lease_expires_at=F("lease_expires_at") - timedelta(minutes=2))
    Channel.objects.update(busy_until=F("busy_until") - timedelta(minutes=2))
    with worker(tmp_path) as second, ticking():
        until(all_sent, what=second.said)

    ids = {request.headers["webhook-id"] for request in receiver.requests}
    assert ids == {str(Notification.objects.get().pk)}
    assert len(receiver.requests) == 2
    assert Webhook(secret).verify(receiver.requests[1].body, receiver.requests[1].headers)
    assert list(Attempt.objects.values_list("number", "outcome")) == [(1, "lost"), (2, "sent")]


def test_a_wiped_redis_loses_nothing(receiver: Receiver, tmp_path: Path) -> None:
    actor = make_actor(None)
    actor.user.email = ""
    make_hook(receiver, actor)
    for number in range(20):
        tell(actor, f"run {number}")
    wipe_redis()

    with worker(tmp_path) as running, ticking():
        for number in range(20, 40):
            tell(actor, f"run {number}")
            wipe_redis()
        # A hint that was wiped is repeated after a while; here that while has passed.
        Notification.objects.filter(status="pending").update(hinted_at=None)
        until(all_sent, seconds=60, what=running.said)

    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert len(ids) == len(set(ids)) == 40
    assert set(ids) == {str(pk) for pk in Notification.objects.values_list("pk", flat=True)}

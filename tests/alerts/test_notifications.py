"""What is announced is stored once, with what happened, and delivered by real mail."""

from dataclasses import replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from functools import partial
from typing import Any

import pytest
from celery import current_app
from django.db import transaction
from pytest_django import Settings

from access.actors import Actor
from access.errors import Conflict
from access.models import AuditEvent, Membership, Role
from alerts import deliveries, notifications, trials
from alerts.channels import email as email_channel
from alerts.deliveries import LEASE, RETRY_AFTER, deliver, replay, rescue
from alerts.models import (
    INTEGRATIONS,
    AlertType,
    Attempt,
    Channel,
    ChannelKind,
    Event,
    Notification,
    NotificationStatus,
)
from alerts.notifications import Happening, announce
from evalsched import announcements
from evalsched.models import RunStatus
from tests.alerts.mail_server import MailServer
from tests.factories import (
    NOW,
    make_actor,
    make_channel,
    make_event,
    make_member,
    make_notification,
    make_preference,
    make_project,
    make_run,
    make_schedule,
)
from tests.processes_at_work import at_once

pytestmark = pytest.mark.django_db
SECOND = timedelta(seconds=1)


def happening(key: str = "a run", **changes: Any) -> Happening:
    wanted = {"subject": "Evaluation failed: Nightly", "summary": "No connection."} | changes
    return Happening(AlertType.EVALUATION_FAILED, key, facts=[("Model", "gpt")], **wanted)


def tell(actor: Actor, what: Happening | None = None) -> None:
    announce(actor.project.pk, actor.user, what or happening(), now=NOW)


def waiting() -> Notification:
    return Notification.objects.get()


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def test_a_happening_told_twice_is_stored_once() -> None:
    actor = make_actor()
    with transaction.atomic():
        tell(actor)
        tell(actor)
    tell(actor)

    assert (Event.objects.count(), Notification.objects.count()) == (1, 1)
    assert waiting().address == actor.user.email


@pytest.mark.django_db(transaction=True)
def test_a_happening_told_at_once_is_stored_once() -> None:
    actor = make_actor()
    for number in range(10):
        at_once(*[partial(tell, actor, happening(f"run {number}"))] * 3)

    assert (Event.objects.count(), Notification.objects.count()) == (10, 10)


def test_what_did_not_happen_is_not_told() -> None:
    actor = make_actor()

    def fails() -> None:
        with transaction.atomic():
            tell(actor)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()

    assert (Event.objects.count(), Notification.objects.count()) == (0, 0)


def test_who_has_no_address_is_not_written_to() -> None:
    actor = make_actor()
    actor.user.email = ""

    tell(actor)

    assert (Event.objects.count(), Notification.objects.count()) == (1, 0)


def test_a_mail_arrives_as_text_and_html(mailbox: MailServer) -> None:
    actor = make_actor()
    tell(actor, happening(path="/admin/x"))

    deliver(waiting().pk, now=NOW)

    (mail,) = mailbox.mails
    assert (mail["Subject"], mail["To"]) == ("Evaluation failed: Nightly", actor.user.email)
    assert mail["From"] == "evalsched <alerts@evals.example>"
    assert mail["Message-ID"] == f"<{waiting().pk}@evals.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    for kind in ("plain", "html"):
        text = body(mail, kind)
        assert "No connection." in text
        assert "https://evals.example/admin/x" in text
    assert "Model: gpt" in body(mail, "plain")
    sent = waiting()
    assert (sent.status, sent.sent_at, sent.attempts) == ("sent", NOW, 1)


def test_a_failed_run_is_told_in_words_that_help(mailbox: MailServer) -> None:
    schedule = make_schedule(name="Nightly")
    run = make_run(schedule, status=RunStatus.FAILED, error_message="401: key refused.")

    announcements.evaluation_failed(schedule, run, now=NOW)
    deliver(waiting().pk, now=NOW)

    text = body(mailbox.mails[0], "plain")
    assert mailbox.mails[0]["Subject"] == "Evaluation failed: Nightly"
    for expected in (
        "401: key refused.",
        "Schedule: Nightly",
        f"Model: {schedule.endpoint.name}",
        "Scheduled for: 2025-01-15 10:00 UTC",
        f"/admin/evalsched/run/{run.pk}/change/",
    ):
        assert expected in text


def test_a_disabled_schedule_is_told_with_the_reason(mailbox: MailServer) -> None:
    schedule = make_schedule(name="Nightly")

    announcements.schedule_disabled(schedule, "3 runs failed.", now=NOW)
    deliver(waiting().pk, now=NOW)

    assert mailbox.mails[0]["Subject"] == "Schedule disabled: Nightly"
    assert "3 runs failed. It stays off until you enable it again." in body(
        mailbox.mails[0], "plain"
    )


def test_names_cannot_bring_markup_or_headers_along(mailbox: MailServer) -> None:
    nasty = "<script>alert(1)</script>\r\nBcc: everybody@example.org"
    tell(make_actor(), happening(subject=f"Evaluation failed: {nasty}", summary=nasty))

    deliver(waiting().pk, now=NOW)

    (mail,) = mailbox.mails
    assert mail["Bcc"] is None
    assert mail["Subject"] == (
        "Evaluation failed: <script>alert(1)</script> Bcc: everybody@example.org"
    )
    assert "<script>" not in body(mail, "html")
    assert "&lt;script&gt;" in body(mail, "html")
    assert waiting().status == NotificationStatus.SENT


def test_names_and_errors_cannot_write_lines_that_look_like_ours(mailbox: MailServer) -> None:
    forged = "Acknowledge: https://evil.example/login"
    nasty = f"gpt\r\n{forged}\n\u2028{forged}\x0b{forged}"
    actor = make_actor()
    channel = make_channel(actor, name=nasty)
    what = happening(subject=nasty, summary=nasty, links=[("Acknowledge", "/alerts/1")])
    tell(actor, replace(what, facts=[("Model", nasty)]))
    trials.make(actor, channel, now=NOW)

    for notification in Notification.objects.all():
        deliver(notification.pk, now=NOW)

    assert len(mailbox.mails) == 3
    for mail in mailbox.mails:
        lines = body(mail, "plain").splitlines()
        assert not any(line.strip().startswith(forged) for line in lines)
        assert "\u2028" not in body(mail, "plain")
    for event in Event.objects.all():
        texts = [event.subject, event.summary, *(value for _, value in event.facts)]
        assert all(len(text.splitlines()) == 1 for text in texts)


def test_a_very_long_name_still_arrives(mailbox: MailServer) -> None:
    tell(make_actor(), happening(subject="Evaluation failed: " + "ü" * 400))

    deliver(waiting().pk, now=NOW)

    # A folded header begins with a blank.
    assert mailbox.mails[0]["Subject"].strip() == "Evaluation failed: " + "ü" * 281


def test_a_mail_server_that_is_away_is_tried_on_the_schedule_and_then_given_up(
    mailbox: MailServer,
) -> None:
    mailbox.answer = "451 try again later"
    tell(make_actor())
    now = NOW
    for attempt in range(1, len(RETRY_AFTER)):
        deliver(waiting().pk, now=now)
        found = waiting()
        assert (found.status, found.attempts, found.lease_expires_at) == ("pending", attempt, None)
        assert "451" in found.error_message
        wait = found.not_before - now
        assert RETRY_AFTER[attempt] <= wait <= RETRY_AFTER[attempt] * 1.1
        deliver(found.pk, now=found.not_before - SECOND)
        assert waiting().attempts == attempt, "too early"
        now = found.not_before

    deliver(waiting().pk, now=now)

    assert (waiting().status, waiting().attempts) == ("failed", 10)
    assert rescue(now + timedelta(days=9)) == 0
    assert mailbox.mails == []


def test_a_mail_that_is_tried_again_is_the_same_mail(mailbox: MailServer) -> None:
    tell(make_actor())
    mailbox.answer = "451 try again later"
    deliver(waiting().pk, now=NOW)
    mailbox.answer = "250 OK"

    deliver(waiting().pk, now=waiting().not_before)

    (mail,) = mailbox.mails
    assert mail["Message-ID"] == f"<{waiting().pk}@evals.example>"
    assert (waiting().status, waiting().attempts, waiting().error_message) == ("sent", 2, "")


def test_nobody_listening_is_a_failure_like_any_other(settings: Settings) -> None:
    with MailServer() as gone:
        port = gone.port
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    tell(make_actor())

    deliver(waiting().pk, now=NOW)

    assert (waiting().status, waiting().attempts) == ("pending", 1)
    assert waiting().error_message.startswith("ConnectionRefusedError")


@pytest.mark.django_db(transaction=True)
def test_two_deliverers_send_one_mail(mailbox: MailServer) -> None:
    for number in range(5):
        notification = make_notification()
        at_once(*[partial(deliver, notification.pk, now=NOW)] * 3)
        assert len(mailbox.mails) == number + 1

    assert set(Notification.objects.values_list("status", "attempts")) == {("sent", 1)}


def test_a_crash_between_claim_and_send_loses_nothing(
    mailbox: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(make_actor())

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crash:
        crash.setattr(email_channel, "send", killed)
        with pytest.raises(KeyboardInterrupt):
            deliver(waiting().pk, now=NOW)
    assert waiting().status == NotificationStatus.SENDING

    rescue(NOW + LEASE)
    assert waiting().status == NotificationStatus.SENDING, "its lease has not ended"
    later = NOW + LEASE + SECOND
    assert rescue(later) == 1
    deliver(waiting().pk, now=later)

    (mail,) = mailbox.mails
    assert mail["Message-ID"] == f"<{waiting().pk}@evals.example>"
    assert (waiting().status, waiting().attempts, waiting().claim_no) == ("sent", 2, 2)


def test_a_deliverer_that_was_away_writes_nothing(
    mailbox: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hung for longer than its lease; another one has sent the mail meanwhile."""
    notification = make_notification()
    honest = email_channel.send
    later = NOW + LEASE + SECOND

    def hangs(*given: Notification | Event) -> None:
        monkeypatch.setattr(email_channel, "send", honest)
        rescue(later)
        deliver(notification.pk, now=later)
        raise TimeoutError

    monkeypatch.setattr(email_channel, "send", hangs)
    deliver(notification.pk, now=NOW)

    assert len(mailbox.mails) == 1
    assert (waiting().status, waiting().sent_at, waiting().claim_no) == ("sent", later, 2)


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_delays_and_the_tick_hints_again(
    mailbox: MailServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as away:
        away.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
        away.setattr(current_app.amqp, "_producer_pool", None)
        tell(make_actor())
    assert "hint lost" in caplog.text
    notification = waiting()
    assert notification.status == NotificationStatus.PENDING

    assert rescue(NOW + SECOND) == 1
    assert rescue(NOW + SECOND) == 0, "hinted already"
    assert rescue(NOW + deliveries.HINT_AGAIN + 2 * SECOND) == 1
    deliver(notification.pk, now=NOW + SECOND)

    assert len(mailbox.mails) == 1


# --- Mails that are read on a phone at night ----------------------------------------------------


def test_styles_stand_in_the_elements_and_what_the_screen_decides_in_the_head(
    mailbox: MailServer,
) -> None:
    tell(make_actor(), happening(path="/admin/x"))

    deliver(waiting().pk, now=NOW)

    html = body(mailbox.mails[0], "html")
    head, _, rest = html.partition("</head>")
    assert "@media (prefers-color-scheme: dark)" in head
    assert 'name="viewport"' in head
    assert '<h1 style="' in rest
    assert '<td style="' in rest
    assert "http" not in rest.replace("https://evals.example/admin/x", ""), "nothing is loaded"


def test_rows_and_links_of_a_rule_stand_in_both_parts(mailbox: MailServer) -> None:
    rows = [
        ("Metric", "latency"),
        ("Current value", "912 ms"),
        ("Threshold", "> 500 ms"),
        ("Aggregation", "p95"),
        ("Time window", "5 min"),
        ("Sample count", "120"),
        ("Model", "<b>gpt</b>"),
    ]
    what = Happening(
        AlertType.TRACE_LATENCY_HIGH,
        "an episode's notice",
        "Firing: slow answers, latency 912 ms > 500 ms",
        "It has been so for 5 minutes.",
        facts=rows,
        path="/admin/alerts/alert/1/change/",
        links=[("Acknowledge", "/alerts/acknowledge/a-token")],
    )
    tell(make_actor(), what)

    deliver(waiting().pk, now=NOW)

    (mail,) = mailbox.mails
    assert mail["Subject"] == "Firing: slow answers, latency 912 ms > 500 ms"
    plain, html = body(mail, "plain"), body(mail, "html")
    for label, value in rows:
        assert f"{label}: {value}" in plain
        assert f">{label}</th>" in html
    assert "Acknowledge: https://evals.example/alerts/acknowledge/a-token" in plain
    assert 'href="https://evals.example/alerts/acknowledge/a-token"' in html
    assert "&lt;b&gt;gpt&lt;/b&gt;" in html
    assert "{{" not in plain + html


def test_mails_of_one_episode_are_one_conversation(mailbox: MailServer) -> None:
    actor = make_actor()
    for key, episode in [("1", "a"), ("2", "a"), ("3", "b"), ("4", "")]:
        tell(actor, happening(key, episode=episode))
    for notification in Notification.objects.order_by("pk"):
        deliver(notification.pk, now=NOW)

    first, second, other, alone = mailbox.mails
    assert first["References"] == second["References"] == "<episode.a@evals.example>"
    assert first["In-Reply-To"] == first["References"]
    assert other["References"] == "<episode.b@evals.example>"
    assert alone["References"] is None
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 4


def test_each_attempt_is_kept_with_what_the_mail_server_said(mailbox: MailServer) -> None:
    mailbox.answer = "451 try again later"
    tell(make_actor())
    deliver(waiting().pk, now=NOW)
    mailbox.answer = "554 no such person"
    deliver(waiting().pk, now=waiting().not_before)
    mailbox.answer = "250 OK"
    deliver(waiting().pk, now=waiting().not_before)

    kept = Attempt.objects.values_list("number", "outcome", "status_code")
    assert list(kept) == [(1, "server_error", 451), (2, "rejected", 554), (3, "sent", None)]


def test_a_lost_attempt_is_kept_as_one_that_may_have_arrived() -> None:
    notification = make_notification()
    Notification.objects.update(status="sending", lease_expires_at=NOW, claim_no=1, attempts=1)

    rescue(NOW + SECOND)
    rescue(NOW + SECOND)

    attempt = Attempt.objects.get()
    assert (attempt.notification_id, attempt.number, attempt.outcome) == (
        notification.pk,
        1,
        "lost",
    )
    assert attempt.duration_ms is None


# --- Who is told ---------------------------------------------------------------------------------


def addresses() -> set[str]:
    return set(Notification.objects.values_list("address", flat=True))


def test_the_projects_channels_are_told_beside_the_author(mailbox: MailServer) -> None:
    actor = make_actor()
    make_channel(actor)
    make_channel(actor, url="https://hooks.example.org/a/secret-path")
    make_channel(actor, kind="slack", url="https://hooks.slack.com/services/T/B/x")
    make_channel(actor, enabled=False, configuration={"address": "off@example.org"})
    make_channel(configuration={"address": "another-project@example.org"})

    tell(actor)
    tell(actor)

    assert addresses() == {
        actor.user.email,
        "ops@example.org",
        "hooks.example.org",
        "hooks.slack.com",
    }
    assert Notification.objects.count() == 4
    deliver(Notification.objects.get(address="ops@example.org").pk, now=NOW)
    assert "has your address" in body(mailbox.mails[0], "plain")


def test_nobody_gets_two_mails_about_one_thing() -> None:
    actor = make_actor()
    make_channel(actor, configuration={"address": actor.user.email})

    tell(actor)

    assert Notification.objects.get().channel is None


def test_who_left_the_project_is_told_no_more_but_its_channels_are() -> None:
    actor = make_actor()
    make_channel(actor)
    Membership.objects.all().delete()

    tell(actor)

    assert addresses() == {"ops@example.org"}


@pytest.mark.parametrize("left", ["project", "service"])
def test_in_place_of_who_left_the_projects_admins_are_told(left: str, mailbox: MailServer) -> None:
    project = make_project()
    author = make_actor(make_member(project).user, project=project)
    make_channel(author, url="https://hooks.example.org/")
    make_preference(author, channel="webhook")
    admins = [make_member(project, role=Role.ADMIN).user for _ in range(2)]
    make_preference(make_actor(admins[0], project=project))
    if left == "project":
        Membership.objects.filter(user=author.user).delete()
    else:
        author.user.is_active = False

    tell(author)

    assert addresses() == {project.user.email, admins[1].email, "hooks.example.org"}
    deliver(Notification.objects.get(address=admins[1].email).pk, now=NOW)
    assert "you are an admin of the project" in body(mailbox.mails[0], "plain")


@pytest.mark.parametrize(
    ("through", "kinds"),
    [
        ({ChannelKind.EMAIL}, {"email"}),
        ({ChannelKind.WEBHOOK}, {"webhook"}),
        (INTEGRATIONS, {"slack"}),
        (set(), set()),
    ],
)
def test_a_happening_goes_only_through_what_it_may(
    through: set[ChannelKind], kinds: set[str]
) -> None:
    actor = make_actor()
    make_channel(actor, url="https://hooks.example.org/")
    make_channel(actor, kind="slack", url="https://hooks.slack.com/services/T/B/x")

    tell(actor, happening(through=frozenset(through)))

    assert set(Notification.objects.values_list("kind", flat=True)) == kinds
    assert Event.objects.count() == 1


def test_a_channel_that_is_deleted_at_this_moment_does_not_keep_the_others_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    actor = make_actor()
    gone, other = make_channel(actor), make_channel(actor, url="https://hooks.example.org/")
    honest = notifications._to_channel

    def too_late(event: Event, channel: Channel, now: datetime) -> Notification:
        Channel.objects.filter(pk=gone.pk).delete()
        return honest(event, channel, now)

    monkeypatch.setattr(notifications, "_to_channel", too_late)
    with transaction.atomic():
        tell(actor)

    told = set(Notification.objects.values_list("target", flat=True))
    assert told == {"author", str(other.pk)}


# --- Sending again -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["sent", "failed"])
def test_what_has_ended_is_sent_again_from_the_beginning(status: str, mailbox: MailServer) -> None:
    actor = make_actor()
    notification = make_notification(make_event(actor))
    sent_at = NOW if status == "sent" else None
    Notification.objects.update(status=status, sent_at=sent_at, attempts=10, claim_no=10)

    replayed = replay(actor, notification, now=NOW + SECOND)
    deliver(notification.pk, now=NOW + SECOND)

    assert (replayed.status, replayed.attempts) == ("pending", 0)
    (mail,) = mailbox.mails
    assert mail["Message-ID"] == f"<{notification.pk}@evals.example>"
    assert Attempt.objects.get().number == 11
    assert AuditEvent.objects.filter(action="notification.replayed").count() == 1


@pytest.mark.parametrize("status", ["pending", "sending"])
def test_what_is_under_way_is_not_sent_again(status: str) -> None:
    actor = make_actor()
    notification = make_notification(make_event(actor))
    leased = NOW if status == "sending" else None
    Notification.objects.update(status=status, lease_expires_at=leased)

    with pytest.raises(Conflict, match="under way"):
        replay(actor, notification, now=NOW)


def test_nothing_is_sent_again_through_a_channel_that_is_off() -> None:
    actor = make_actor()
    channel = make_channel(actor, url="https://hooks.example.org/", enabled=False)
    notification = make_notification(make_event(actor), channel=channel, status="failed")

    with pytest.raises(Conflict, match="disabled"):
        replay(actor, notification, now=NOW)

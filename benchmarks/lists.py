"""Every list of the API and of the admin, over many rows: its page, orders, filters, last page."""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse

from access import clock
from access.api.views import ApiView
from access.models import User
from alerts.models import Event
from benchmarks import many_rows
from benchmarks.figures import Figure
from benchmarks.many_rows import Made
from tests.api.list_views import list_views
from tests.factories import make_rule, make_user

MOST_MS = 200
TIMES = 5


def measure() -> list[Figure]:
    print(f"making {many_rows.MANY:,} of everything and {many_rows.JOBS:,} jobs")
    started = time.monotonic()
    # The web's limit of 10 s is for requests.
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
    made = many_rows.make()
    print(f"made in {time.monotonic() - started:.0f} s")
    return [*of_the_api(made), *of_the_admin(made)]


def of_the_api(made: Made) -> list[Figure]:
    client = Client(headers={"X-Project-Id": str(made.actor.project.pk)})
    client.force_login(made.actor.user)
    rule = make_rule(made.actor, now=clock.database_now())
    found = []
    for route, view in list_views().items():
        path = f"/{route}"
        for placeholder, row in (
            ("<uuid:batch_id>", made.large_batch),
            ("<uuid:suite_id>", made.large_suite),
            ("<uuid:schedule_id>", made.schedule),
            ("<uuid:project_id>", made.actor.project),
            ("<uuid:model_run_id>", made.model_run),
            ("<uuid:rule_id>", rule),
        ):
            path = path.replace(placeholder, str(row.pk))
        print(path)
        always = always_asked(route, made)
        count = client.get(f"{path}?{always}").json()["count"]
        for query in ("", "limit=500", f"offset={max(count - 50, 0)}", *queries_of(view, made)):
            shown = f"GET /{route.replace('uuid:', '')}{query and '?'}{query}"
            found.append(timed(client, f"{path}?{always}{query}", shown))
    return found


def always_asked(route: str, made: Made) -> str:
    """Return what a list has to be asked with at all."""
    if route == "api/batches/compare":
        return f"ids={','.join(str(batch.pk) for batch in made.two_batches)}&"
    return ""


def queries_of(view: type[ApiView], made: Made) -> Iterator[str]:
    """Yield each order, both ways, and each filter."""
    for name in getattr(view, "ordering_fields", None) or ():
        yield f"ordering={name}"
        yield f"ordering=-{name}"
    for name, choices in filters_of(view).items():
        for value in choices or _VALUES[name]:
            yield urlencode({name: value(made) if callable(value) else value})


def filters_of(view: Any) -> dict[str, list[str]]:
    """Return the names of a view's filters, with their choices where these are few and known."""
    named = getattr(view, "filterset_class", None)
    if named is None:
        return {name: [] for name in getattr(view, "filterset_fields", None) or ()}
    return {
        name: [value for value, _ in each.extra.get("choices", ())]
        for name, each in named.base_filters.items()
    }


_NOBODY = "00000000-0000-7000-8000-000000000000"
# What to ask of each filter: something that many rows have, and something that few or none have.
_VALUES: dict[str, tuple[Any, ...]] = {
    "acknowledged": ("true", "false"),
    "action": ("suite.changed", "suite.deleted"),
    "agent_id": (_NOBODY,),
    "backfill_id": (_NOBODY,),
    "channel_id": (_NOBODY,),
    "enabled": ("true", "false"),
    "end": ("2100-01-01T00:00:00Z",),
    "event_id": (lambda _: Event.objects.all()[0].pk,),
    "expires_before": ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"),
    "flaky": ("true", "false"),
    "include_expired": ("true", "false"),
    "is_active": ("true", "false"),
    "is_ephemeral": ("true", "false"),
    "model": ("model-7", "no-model"),
    "model_id": (lambda made: made.schedule.endpoint_id, "Endpoint 7", "model-7"),
    "model_name": ("Endpoint 7", "model-7"),
    "name": ("Suite 7", "No suite"),
    "object_id": ("7",),
    "operation": ("chat", "none"),
    "passed": ("true", "false"),
    "provider": ("demo", "openai"),
    "rule_id": (_NOBODY,),
    "start": ("2020-01-01T00:00:00Z",),
    "tag": ("rare", "none"),
    "trace_id": ("7",),
    "test_suite_id": (lambda made: made.schedule.suite_id,),
    "tracking_id": ("trial-77", "none"),
    "user_id": (lambda made: made.actor.user.pk, _NOBODY),
}


def of_the_admin(made: Made) -> list[Figure]:
    client, operator = Client(), make_user(superuser=True)
    client.force_login(operator)
    found = [timed(client, "/admin/", "GET /admin/")]
    for model, options in admin.site._registry.items():
        path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        print(path)
        asked = choices_of(options, path, operator)
        for query in ("", "p=100", *asked, *searches(options, model)):
            shown = f"GET {path}{query and '?'}{query}"
            found.append(timed(client, f"{path}?{query}", shown))
    batch = f"batch__id__exact={made.large_batch.pk}"
    for query in ("", "&p=100", "&outcome__exact=failed", "&q=case-77777"):
        path = f"/admin/batches/job/?{batch}{query}"
        found.append(timed(client, path, f"GET /admin/batches/job/?batch=<large>{query}"))
    return found


def choices_of(options: Any, path: str, operator: User) -> Iterator[str]:
    """Yield what the page offers beside it: the first three choices of each filter."""
    request = RequestFactory().get(path)
    request.user = operator
    shown = options.get_changelist_instance(request)
    for spec in shown.filter_specs:
        # The first is "all".
        for choice in list(spec.choices(shown))[1:4]:
            yield choice["query_string"].removeprefix("?")


def searches(options: Any, model: Any) -> Iterator[str]:
    if options.search_fields:
        yield "q=nothing-of-the-kind"
        row = model.objects.order_by("pk").first()
        name = options.search_fields[0].lstrip("=^@")
        if row is not None and "__" not in name:
            yield urlencode({"q": getattr(row, name)})


def timed(client: Client, path: str, shown: str) -> Figure:
    """Return the median time of an answer, after a first one that nobody counts."""
    spent = []
    for _ in range(TIMES + 1):
        started = time.perf_counter()
        answer = client.get(path)
        spent.append((time.perf_counter() - started) * 1000)
        # A page behind the last one is sent to the first.
        assert answer.status_code in {200, 302}, (path, answer.status_code, answer.content[:500])
    return Figure(shown, median(spent[1:]), "ms", MOST_MS)

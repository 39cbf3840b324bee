"""The list of experiments, and what editors do to one."""

import uuid
from abc import ABC, abstractmethod
from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import BooleanField, Case, Q, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from access.errors import Refusal
from access.models import User
from access.pages import Page
from batches import experiments
from batches.models import Batch
from evalsched.pages.words import STATUS_TONES, Label, expiry, money, rest

_A_PAGE = 25


class Narrow(forms.Form):
    """What the list may be narrowed by; what makes no sense is left out of account."""

    q = forms.CharField(required=False, max_length=64)
    user = forms.UUIDField(required=False)
    status = forms.ChoiceField(
        required=False, choices=[("", ""), *((name, name) for name in experiments.STATUSES)]
    )
    expired = forms.BooleanField(required=False)


class Experiments(Page):
    def get(self, request: HttpRequest) -> HttpResponse:
        asked = Narrow(request.GET)
        asked.is_valid()
        wanted = asked.cleaned_data
        rows = Batch.objects.filter(project=self.actor.project).exclude(tracking_id="")
        makers = User.objects.filter(pk__in=rows.values("user_id")).only("username")
        found = experiments.summed(self._narrowed(rows, wanted))
        if wanted.get("status"):
            found = found.filter(status=wanted["status"])
        under_way = Case(
            When(status="running", then=Value(False)), default=True, output_field=BooleanField()
        )
        found = found.order_by(under_way, "-created_at")
        page = Paginator(found, _A_PAGE).get_page(request.GET.get("page"))
        names = {user.pk: user.username for user in makers.order_by("username")}
        context = {
            "page": page,
            "lines": [self._line(row, names) for row in page],
            "makers": names.items(),
            "wanted": {name: str(value) for name, value in wanted.items() if value},
            "narrowed": any(wanted.values()),
            "statuses": experiments.STATUSES,
            "any": rows.exists(),
        }
        return self.shown("experiments/list.html", context)

    def _narrowed(self, rows: Any, wanted: dict[str, Any]) -> Any:
        if not wanted.get("expired"):
            lasting = Q(expires_at__isnull=True) | Q(expires_at__gt=self.now)
            rows = rows.filter(experiments.has_batch(lasting))
        if wanted.get("user"):
            rows = rows.filter(experiments.has_batch(user_id=wanted["user"]))
        if wanted.get("q"):
            text = wanted["q"]
            described = experiments.has_batch(description__icontains=text)
            rows = rows.filter(Q(tracking_id__icontains=text) | described)
        return rows

    def _line(self, row: dict[str, Any], names: dict[uuid.UUID, str]) -> dict[str, Any]:
        return row | {
            "url": reverse("experiment", args=[row["tracking_id"]]),
            "label": Label(row["status"], STATUS_TONES[row["status"]]),
            "user": names.get(row["users"][0], ""),
            "expiry": expiry(row["expires_at"], self.now),
            "cost": money(row["total_cost"]) if row["done"] else "",
            "rest": rest(row["failed"], row["errors"], row["unscored"]),
        }


class _Change(Page, ABC):
    """A form that was sent from the page of an experiment."""

    def get(self, request: HttpRequest, tracking_id: str) -> HttpResponse:
        """Lead back to the page: a login leads here where the session had ended before."""
        messages.warning(request, "Nothing was changed: your session had ended. Press it again.")
        page = reverse("experiment", args=[tracking_id])
        return redirect(f"{page}?project={self.actor.project.pk}")

    def post(self, request: HttpRequest, tracking_id: str) -> HttpResponse:
        try:
            sentence, leads_to = self.do(request, tracking_id)
        except Refusal as refusal:
            messages.error(request, refusal.message)
            leads_to = reverse("experiment", args=[tracking_id])
        else:
            messages.success(request, sentence)
        return redirect(f"{leads_to}?project={self.actor.project.pk}")

    @abstractmethod
    def do(self, request: HttpRequest, tracking_id: str) -> tuple[str, str]:
        """Return what was done, in a sentence, and where to go from there."""


class Days(forms.Form):
    days = forms.IntegerField(min_value=1, max_value=experiments.MAX_DAYS)


class Extend(_Change):
    def do(self, request: HttpRequest, tracking_id: str) -> tuple[str, str]:
        asked = Days(request.POST)
        page = reverse("experiment", args=[tracking_id])
        if not asked.is_valid():
            raise Refusal(f"Give a number of days from 1 to {experiments.MAX_DAYS}.")
        days = asked.cleaned_data["days"]
        experiments.extend(self.actor, tracking_id, days=days, now=self.now)
        return f"{tracking_id} expires {days} day{'' if days == 1 else 's'} from now.", page


class Delete(_Change):
    def do(self, request: HttpRequest, tracking_id: str) -> tuple[str, str]:
        cancel = "cancel" in request.POST
        experiments.delete(self.actor, tracking_id, cancel=cancel, now=self.now)
        return f"{tracking_id} is deleted, with everything it owned.", reverse("experiments")

"""The page behind a notice's link: whoever looks after an alert says so, on a phone as well."""

import uuid

from django.contrib import messages
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from access.errors import NotFound, Refusal
from access.pages import Page
from alerts import announcements, episodes
from alerts.models import Alert


class Acknowledge(Page):
    def get(self, request: HttpRequest, alert_id: uuid.UUID) -> HttpResponse:
        """Show the alert and a button: what opens links in mails by itself changes nothing."""
        alert = self._found(alert_id)
        context = {
            "alert": alert,
            "condition": announcements.condition(alert.rule),
            "value": announcements.amount(alert.rule, alert.last_value),
            "peak": announcements.amount(alert.rule, alert.peak_value),
        }
        return self.shown("alerts/acknowledge.html", context)

    def post(self, request: HttpRequest, alert_id: uuid.UUID) -> HttpResponse:
        alert = self._found(alert_id)
        try:
            episodes.acknowledge(self.actor, alert, now=self.now)
        except Refusal as refusal:
            messages.error(request, refusal.message)
        return redirect(request.get_full_path())

    def _found(self, alert_id: uuid.UUID) -> Alert:
        alerts = Alert.objects.filter(project=self.actor.project, pk=alert_id)
        named = alerts.annotate(looks_after_it=F("acknowledged_by__username"))
        found = named.select_related("rule").first()
        if found is None:
            raise NotFound("There is no such alert in this project.")
        return found

"""Where models are called."""

from django.db import models
from django.db.models import Q

from access.models import Owned
from access.secrets import SecretField


class Provider(models.TextChoices):
    OPENAI = "openai", "OpenAI-compatible"
    ANTHROPIC = "anthropic", "Anthropic"
    HTTP = "http", "Any JSON over HTTP"
    DEMO = "demo", "Demonstration"


class ModelEndpoint(Owned):
    """Where a model answers, with which credentials, how often, and for how much."""

    name = models.CharField(max_length=200)
    provider = models.CharField(max_length=20, choices=Provider)
    base_url = models.CharField(max_length=500, blank=True)
    model = models.CharField(max_length=200)
    api_key = SecretField()
    # Names and values as JSON: people put tokens into headers, so all of it is secret.
    headers = SecretField()
    parameters = models.JSONField(default=dict, blank=True)
    # The provider http's: the JSON object to send, and where the answer stands in what comes back.
    request_template = models.JSONField(null=True, blank=True)
    answer_path = models.CharField(max_length=200, blank=True)
    # What all workers together may ask of it; null is no limit.
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)
    # USD per million tokens; all null: as the maintained price list has it. Unknown is never free.
    price_input = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    price_cached_input = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    price_output = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_endpoint_of_a_name"),
            models.CheckConstraint(
                condition=Q(provider__in=Provider.values), name="known_provider"
            ),
            models.CheckConstraint(
                condition=(Q(price_input__isnull=True) | Q(price_input__gte=0))
                & (Q(price_cached_input__isnull=True) | Q(price_cached_input__gte=0))
                & (Q(price_output__isnull=True) | Q(price_output__gte=0)),
                name="prices_not_negative",
            ),
            models.CheckConstraint(
                condition=(Q(requests_per_minute__isnull=True) | Q(requests_per_minute__gte=1))
                & (Q(tokens_per_minute__isnull=True) | Q(tokens_per_minute__gte=1)),
                name="limits_at_least_one",
            ),
        ]

    def __str__(self) -> str:
        return self.name

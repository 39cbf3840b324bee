"""What lists can be narrowed by."""

import django_filters

from access.api.filters import YesOrNo
from alerts.models import (
    AlertType,
    AttemptOutcome,
    Channel,
    ChannelKind,
    Notification,
    NotificationStatus,
)


class ChannelFilter(django_filters.FilterSet):
    kind = django_filters.ChoiceFilter(choices=ChannelKind.choices)
    enabled = YesOrNo()

    class Meta:
        model = Channel
        fields: list[str] = []


class NotificationFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=NotificationStatus.choices)
    kind = django_filters.ChoiceFilter(choices=ChannelKind.choices)
    channel_id = django_filters.UUIDFilter()
    event_id = django_filters.UUIDFilter()
    alert_type = django_filters.ChoiceFilter(
        field_name="event__alert_type", choices=AlertType.choices
    )
    # Those with an attempt that ended so.
    outcome = django_filters.ChoiceFilter(
        field_name="history__outcome", choices=AttemptOutcome.choices, distinct=True
    )

    class Meta:
        model = Notification
        fields: list[str] = []

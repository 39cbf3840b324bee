"""The API of channels, preferences and notifications: read, call one domain function, answer."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access.api.views import ApiView
from access.models import Role
from alerts import deliveries, directory, preferences, trials
from alerts.delivery_serializers import (
    ChannelSerializer,
    NewChannelSerializer,
    NotificationSerializer,
    PreferenceSerializer,
    TriedSerializer,
)
from alerts.filters import ChannelFilter, NotificationFilter
from alerts.models import Channel, Notification, Preference


class Channels(ApiView):
    queryset = Channel.objects.all()
    serializer_class = ChannelSerializer
    filterset_class = ChannelFilter
    ordering_fields = ("name", "created_at")
    lists = True

    def get(self, request: Request) -> Response:
        return self.listed()

    @extend_schema(responses={201: NewChannelSerializer})
    def post(self, request: Request) -> Response:
        """Make a channel. A webhook's secret is in this answer and in no other."""
        channel, secret = directory.create(self.actor, **self.given())
        return _with_secret(self, channel, secret, status=201)


class OneChannel(ApiView):
    queryset = Channel.objects.all()
    serializer_class = ChannelSerializer

    def get(self, request: Request, channel_id: Any) -> Response:
        return self.shown(self.found(pk=channel_id))

    def patch(self, request: Request, channel_id: Any) -> Response:
        channel = self.found(pk=channel_id)
        return self.shown(
            directory.change(self.actor, channel, **self.given(channel, partial=True))
        )

    def delete(self, request: Request, channel_id: Any) -> Response:
        directory.delete(self.actor, self.found(pk=channel_id))
        return Response(status=204)


class TryChannel(ApiView):
    queryset = Channel.objects.all()
    serializer_class = TriedSerializer
    calls_out = True

    @extend_schema(request=None, responses=TriedSerializer)
    def post(self, request: Request, channel_id: Any) -> Response:
        """Send a test message and say in words whether it arrived."""
        with self.acting():
            notification = trials.make(self.actor, self.found(pk=channel_id), now=self.now)
        return self.shown(trials.send(notification, now=self.now))


class RotateSecret(ApiView):
    queryset = Channel.objects.all()
    serializer_class = NewChannelSerializer

    @extend_schema(request=None)
    def post(self, request: Request, channel_id: Any) -> Response:
        """Give a webhook a new secret, in this answer only; the old one signs besides for a day."""
        channel, secret = directory.rotate(self.actor, self.found(pk=channel_id), now=self.now)
        return _with_secret(self, channel, secret, status=200)


def _with_secret(view: ApiView, channel: Channel, secret: str, *, status: int) -> Response:
    shown = ChannelSerializer(channel, context=view.get_serializer_context()).data
    return Response(shown | {"secret": secret}, status=status)


class Preferences(ApiView):
    """A person's own, in the project they act in."""

    queryset = Preference.objects.all()
    serializer_class = PreferenceSerializer
    # A viewer who was an editor may still hear of what they made.
    write_role = Role.VIEWER

    lists = True

    def get(self, request: Request) -> Response:
        """Every alert type with every kind of channel, and whether yours go out that way."""
        # Refuses parameters that no list knows.
        self.filter_queryset(self.get_queryset())
        rows = preferences.choices(self.actor.user.pk, self.actor.project.pk)
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def put(self, request: Request) -> Response:
        """Say whether your events of one type go out by one kind of channel."""
        given = self.given()
        preferences.put(self.actor, **given)
        return self.shown(given | {"chosen": True})


class Notifications(ApiView):
    queryset = Notification.objects.select_related("event", "channel").prefetch_related("history")
    serializer_class = NotificationSerializer
    filterset_class = NotificationFilter
    ordering_fields = ("created_at", "sent_at")
    lists = True

    def get(self, request: Request) -> Response:
        """Who was told of what, with every attempt and its outcome, newest first."""
        return self.listed()


class OneNotification(ApiView):
    queryset = Notifications.queryset
    serializer_class = NotificationSerializer

    def get(self, request: Request, notification_id: Any) -> Response:
        return self.shown(self.found(pk=notification_id))


class ReplayNotification(ApiView):
    queryset = Notifications.queryset
    serializer_class = NotificationSerializer
    starts_work = True

    @extend_schema(request=None, responses={202: NotificationSerializer})
    def post(self, request: Request, notification_id: Any) -> Response:
        """Send it again, under the same id."""
        notification = self.found(pk=notification_id)
        replayed = deliveries.replay(self.actor, notification, now=self.now)
        return self.shown(replayed, status=202)

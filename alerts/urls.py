from django.urls import path

from alerts import delivery_views, views

_RULE = "analytics/alert-rules/<uuid:rule_id>"

urlpatterns = [
    path("analytics/traces", views.Traces.as_view()),
    path("analytics/alert-rules", views.AlertRules.as_view()),
    path(_RULE, views.OneAlertRule.as_view()),
    path(f"{_RULE}/evaluations", views.Evaluations.as_view()),
    path(f"{_RULE}/preview", views.PreviewAlertRule.as_view()),
    path(f"{_RULE}/test", views.TestAlertRule.as_view()),
    path("alerts", views.Alerts.as_view()),
    path("alerts/<uuid:alert_id>", views.OneAlert.as_view()),
    path("alerts/<uuid:alert_id>/acknowledge", views.AcknowledgeAlert.as_view()),
    path("alerts/<uuid:alert_id>/resolve", views.ResolveAlert.as_view()),
    path("notification-channels", delivery_views.Channels.as_view()),
    path("notification-channels/<uuid:channel_id>", delivery_views.OneChannel.as_view()),
    path("notification-channels/<uuid:channel_id>/test", delivery_views.TryChannel.as_view()),
    path(
        "notification-channels/<uuid:channel_id>/rotate-secret",
        delivery_views.RotateSecret.as_view(),
    ),
    path("notification-preferences", delivery_views.Preferences.as_view()),
    path("notifications", delivery_views.Notifications.as_view()),
    path("notifications/<uuid:notification_id>", delivery_views.OneNotification.as_view()),
    path(
        "notifications/<uuid:notification_id>/replay", delivery_views.ReplayNotification.as_view()
    ),
]

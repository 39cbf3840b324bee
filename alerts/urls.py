from django.urls import path

from alerts import delivery_views as views

urlpatterns = [
    path("notification-channels", views.Channels.as_view()),
    path("notification-channels/<uuid:channel_id>", views.OneChannel.as_view()),
    path("notification-channels/<uuid:channel_id>/test", views.TryChannel.as_view()),
    path("notification-channels/<uuid:channel_id>/rotate-secret", views.RotateSecret.as_view()),
    path("notification-preferences", views.Preferences.as_view()),
    path("notifications", views.Notifications.as_view()),
    path("notifications/<uuid:notification_id>", views.OneNotification.as_view()),
    path("notifications/<uuid:notification_id>/replay", views.ReplayNotification.as_view()),
]

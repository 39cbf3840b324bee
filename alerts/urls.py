from django.urls import path

from alerts import views

urlpatterns = [
    path("analytics/traces", views.Traces.as_view()),
]

from django.urls import path

from evalsched import views

_ONE = "scheduled-evaluations/<uuid:schedule_id>"

urlpatterns = [
    path("scheduled-evaluations", views.Schedules.as_view()),
    path(_ONE, views.OneSchedule.as_view()),
    path(f"{_ONE}/toggle", views.ToggleSchedule.as_view()),
    path(f"{_ONE}/trigger", views.TriggerSchedule.as_view()),
    path(f"{_ONE}/baseline", views.Baseline.as_view()),
    path(f"{_ONE}/runs", views.Runs.as_view()),
    path(f"{_ONE}/runs/<uuid:run_id>", views.OneRun.as_view()),
    path(f"{_ONE}/runs/<uuid:run_id>/cancel", views.CancelRun.as_view()),
    path("runs/compare", views.CompareRuns.as_view()),
]

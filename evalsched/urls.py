from django.urls import path

from evalsched import views, views_comparisons, views_model_runs

_ONE = "scheduled-evaluations/<uuid:schedule_id>"
_MODEL_RUN = "scheduled/<uuid:model_run_id>"

urlpatterns = [
    path("scheduled-evaluations", views.Schedules.as_view()),
    path("scheduled-evaluations/preview", views.Preview.as_view()),
    path(_ONE, views.OneSchedule.as_view()),
    path(f"{_ONE}/toggle", views.ToggleSchedule.as_view()),
    path(f"{_ONE}/trigger", views.TriggerSchedule.as_view()),
    path(f"{_ONE}/backfill", views.BackfillSchedule.as_view()),
    path(f"{_ONE}/upcoming", views.Upcoming.as_view()),
    path(f"{_ONE}/runs.csv", views.RunsAsCsv.as_view()),
    path(f"{_ONE}/runs", views.Runs.as_view()),
    path(f"{_ONE}/runs/<uuid:run_id>", views.OneRun.as_view()),
    path(f"{_ONE}/runs/<uuid:run_id>/cancel", views.CancelRun.as_view()),
    # A batch's address; it is here because it may belong to a schedule.
    path("batch-testing/run", views.BatchTestingRun.as_view()),
    path(f"{_ONE}/baseline", views.Baseline.as_view()),
    path("batches/estimate", views_comparisons.EstimateBatch.as_view()),
    # An experiment's address; it is here because its batches are compared.
    path("experiments/<tracking_id:tracking_id>", views_comparisons.OneExperiment.as_view()),
    path("runs/compare", views.CompareRuns.as_view()),
    path("scheduled", views_model_runs.ModelRuns.as_view()),
    path(_MODEL_RUN, views_model_runs.OneModelRun.as_view()),
    path(f"{_MODEL_RUN}/trigger", views_model_runs.TriggerModelRun.as_view()),
    path(f"{_MODEL_RUN}/executions", views_model_runs.Executions.as_view()),
]

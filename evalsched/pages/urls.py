from django.urls import path

from evalsched.pages import experiments, results

_ONE = "experiments/<tracking_id:tracking_id>"

urlpatterns = [
    path("experiments", experiments.Experiments.as_view(), name="experiments"),
    path(_ONE, results.Results.as_view(), name="experiment"),
    path(f"{_ONE}/extend", experiments.Extend.as_view(), name="experiment_extend"),
    path(f"{_ONE}/delete", experiments.Delete.as_view(), name="experiment_delete"),
    path(f"{_ONE}/export", results.ResultsAsFile.as_view(), name="experiment_export"),
    path(f"{_ONE}/cases/<int:job_id>", results.OneCase.as_view(), name="experiment_case"),
]

from django.urls import path

from batches import views, views_experiments, views_results

urlpatterns = [
    path("models", views.ModelEndpoints.as_view()),
    path("models/<uuid:endpoint_id>", views.OneModelEndpoint.as_view()),
    path("models/<uuid:endpoint_id>/check", views.CheckModelEndpoint.as_view()),
    path("test-suites", views.TestSuites.as_view()),
    path("test-suites/<uuid:suite_id>", views.OneTestSuite.as_view()),
    path("test-suites/<uuid:suite_id>/cases", views.TestCases.as_view()),
    path("test-suites/<uuid:suite_id>/cases/<uuid:case_id>", views.OneTestCase.as_view()),
    path("test-suites/<uuid:suite_id>/import", views.ImportCases.as_view()),
    path("test-suites/<uuid:suite_id>/export", views.ExportCases.as_view()),
    path("agents", views_experiments.Agents.as_view()),
    path("agents/<uuid:agent_id>", views_experiments.OneAgent.as_view()),
    path("documents", views_experiments.Documents.as_view()),
    path("documents/<uuid:document_id>", views_experiments.OneDocument.as_view()),
    path("experiments", views_experiments.Experiments.as_view()),
    path(
        "experiments/<tracking_id:tracking_id>/extend", views_experiments.ExtendExperiment.as_view()
    ),
    path("experiments/<tracking_id:tracking_id>/export", views_results.ExportExperiment.as_view()),
    path("batches", views.Batches.as_view()),
    path("batches/compare", views_results.CompareBatches.as_view()),
    path("batches/<uuid:batch_id>", views.OneBatch.as_view()),
    path("batches/<uuid:batch_id>/cancel", views.CancelBatch.as_view()),
    path("batches/<uuid:batch_id>/resume", views.ResumeBatch.as_view()),
    path("batches/<uuid:batch_id>/results", views.Results.as_view()),
    path("batches/<uuid:batch_id>/rescore", views_results.RescoreBatch.as_view()),
    path("batches/<uuid:batch_id>/cases", views_results.CaseResults.as_view()),
    path("batches/<uuid:batch_id>/export", views_results.ExportBatch.as_view()),
]

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    """Indexes for what the list of traces is narrowed by. Spans wait while they are built."""

    dependencies = [("alerts", "0002_evaluation_last")]

    operations = [
        # Over all days at once: four seconds for each million of spans and index.
        migrations.RunSQL("SET LOCAL statement_timeout = 0", migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="trace",
            index=models.Index(
                fields=["project", "model", "ended_at", "id"], name="trace_of_model"
            ),
        ),
        migrations.AddIndex(
            model_name="trace",
            index=models.Index(
                fields=["project", "operation", "ended_at", "id"], name="trace_of_operation"
            ),
        ),
        migrations.AddIndex(
            model_name="trace",
            index=models.Index(
                condition=Q(status="error"),
                fields=["project", "ended_at", "id"],
                name="trace_errors",
            ),
        ),
        migrations.AddIndex(
            model_name="trace",
            index=models.Index(
                condition=Q(source="evaluation"),
                fields=["project", "ended_at", "id"],
                name="trace_evaluations",
            ),
        ),
    ]

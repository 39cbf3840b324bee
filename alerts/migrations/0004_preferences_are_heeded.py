from django.db import migrations

from access.isolation import API_ROLE, THIS_PROJECT


class Migration(migrations.Migration):
    """Whoever ends an alert over the API has to see what its author has muted.

    Only reading is let through: the policy beside it keeps writing to one's own.
    """

    dependencies = [("alerts", "0003_trace_filters")]

    operations = [
        migrations.RunSQL(
            f"CREATE POLICY read_in_project ON alerts_preference FOR SELECT TO {API_ROLE}"
            f" USING (project_id = {THIS_PROJECT})",
            "DROP POLICY read_in_project ON alerts_preference",
        )
    ]

from django.db import migrations


class Migration(migrations.Migration):
    """Databases made before the migrations were drawn together lack the index that models name."""

    dependencies = [("alerts", "0001_squashed_0012_operators")]

    operations = [
        migrations.RunSQL(
            "CREATE INDEX IF NOT EXISTS evaluation_last"
            " ON alerts_ruleevaluation (project_id, last_minute)",
            migrations.RunSQL.noop,
        )
    ]

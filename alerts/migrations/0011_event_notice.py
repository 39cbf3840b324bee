from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("alerts", "0010_anomalies")]

    operations = [
        migrations.AddField(
            "event", "notice", models.CharField(blank=True, default="", max_length=10),
            preserve_default=False,
        )
    ]

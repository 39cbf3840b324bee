from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("batches", "0010_rescored_from"),
    ]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="consecutive_unjudged",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
    ]

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("batches", "0001_squashed_0011_unjudged"),
    ]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="done_before",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
    ]

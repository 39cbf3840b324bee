from django.db import migrations

import access.isolation
from access.isolation import OwnedKey


class Migration(migrations.Migration):

    dependencies = [
        ("batches", "0009_experiment_pages"),
    ]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="rescored_from",
            field=access.isolation.owned_key("batches.Batch", null=True),
        ),
        OwnedKey("Batch", "rescored_from", "SET NULL"),
    ]

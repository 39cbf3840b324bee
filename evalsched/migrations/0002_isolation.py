from django.db import migrations

from access.isolation import OwnedTable


class Migration(migrations.Migration):
    dependencies = [("evalsched", "0001_initial"), ("batches", "0002_isolation")]

    operations = [
        OwnedTable("Schedule", {"suite": "RESTRICT", "endpoint": "RESTRICT"}),
        OwnedTable("Run", {"schedule": "CASCADE", "batch": "SET NULL"}, referenced=False),
    ]

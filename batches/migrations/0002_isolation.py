from django.db import migrations

from access.isolation import OwnedTable


class Migration(migrations.Migration):
    dependencies = [("batches", "0001_initial"), ("access", "0002_isolation")]

    operations = [
        OwnedTable("ModelEndpoint"),
        OwnedTable("TestSuite"),
        OwnedTable("TestCase", {"suite": "CASCADE"}),
        OwnedTable("Batch", {"suite": "SET NULL", "endpoint": "SET NULL"}),
        # Rows by the million that nothing points at: no further index.
        OwnedTable("Job", {"batch": "CASCADE", "case": "SET NULL"}, referenced=False),
    ]

from django.db import migrations

from access.isolation import OwnedTable


class Migration(migrations.Migration):
    dependencies = [("alerts", "0001_initial"), ("access", "0002_isolation")]

    operations = [
        OwnedTable("Event"),
        OwnedTable("Notification", {"event": "CASCADE"}, referenced=False),
    ]

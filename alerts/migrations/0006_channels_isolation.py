from django.db import migrations

from access.isolation import THIS_PROJECT, THIS_USER, OwnedTable

# The notifications' table was isolated before it pointed at channels and was pointed at itself.
FORWARDS = """
    ALTER TABLE alerts_notification
        ADD CONSTRAINT alerts_notification_in_project UNIQUE (project_id, id),
        ADD CONSTRAINT alerts_notification_channel_id_in_project
            FOREIGN KEY (project_id, channel_id) REFERENCES alerts_channel (project_id, id)
            ON DELETE SET NULL (channel_id) DEFERRABLE INITIALLY IMMEDIATE
"""
BACKWARDS = """
    ALTER TABLE alerts_notification
        DROP CONSTRAINT alerts_notification_channel_id_in_project,
        DROP CONSTRAINT alerts_notification_in_project
"""


class Migration(migrations.Migration):
    dependencies = [("alerts", "0005_channels")]

    operations = [
        OwnedTable("Channel"),
        OwnedTable(
            "Preference",
            condition=f"project_id = {THIS_PROJECT} AND user_id = {THIS_USER}",
            referenced=False,
        ),
        migrations.RunSQL(FORWARDS, BACKWARDS),
        OwnedTable("Attempt", {"notification": "CASCADE"}, referenced=False),
    ]

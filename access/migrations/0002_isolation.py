from django.db import migrations

from access.isolation import THIS_PROJECT, THIS_USER, ApiRole, OwnedTable

MINE = f"SELECT project_id FROM access_membership WHERE user_id = {THIS_USER}"


class Migration(migrations.Migration):
    dependencies = [("access", "0001_initial")]

    operations = [
        ApiRole(),
        OwnedTable("AuditEvent", grants="SELECT, INSERT", referenced=False),
        OwnedTable("IdempotencyKey", referenced=False),
        OwnedTable(
            "Project",
            grants="SELECT, INSERT, UPDATE",
            condition=f"id = {THIS_PROJECT} OR user_id = {THIS_USER} OR id IN ({MINE})",
            referenced=False,
        ),
        OwnedTable(
            "Membership",
            condition=f"project_id = {THIS_PROJECT} OR user_id = {THIS_USER}",
            # One sees where one is a member; letting somebody in takes acting in that project.
            check=f"project_id = {THIS_PROJECT}",
            referenced=False,
        ),
        OwnedTable(
            "ApiKey",
            grants="SELECT, INSERT, UPDATE",
            condition=f"user_id = {THIS_USER}",
            referenced=False,
        ),
        # Members are found and shown by name; password hashes stay out of the API's reach.
        migrations.RunSQL(
            "GRANT SELECT (id, username, email, timezone, is_active) ON access_user TO evalsched_api",
            "REVOKE ALL ON access_user FROM evalsched_api",
        ),
    ]

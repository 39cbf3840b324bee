from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [('alerts', '0003_notification_status')]

    operations = [
        migrations.RemoveConstraint(model_name='notification', name='one_notification_per_address'),
        migrations.RenameField(model_name='notification', old_name='channel', new_name='kind'),
    ]

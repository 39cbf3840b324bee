from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('access', '0003_heartbeat'),
        ('batches', '0003_limits'),
    ]

    operations = [
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'running', 'done', 'not_run', 'cancelled'])), name='job_status'),
        ),
    ]

from django.conf import settings
from django.db import migrations

NAME = "batches.clean_up_experiments"


def make_entry(apps, schema_editor):
    IntervalSchedule = apps.get_model("django_celery_beat", "IntervalSchedule")
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    minutes = settings.EVALSCHED_CLEANUP_MINUTES
    interval, _ = IntervalSchedule.objects.get_or_create(every=minutes, period="minutes")
    PeriodicTask.objects.get_or_create(
        name=NAME,
        defaults={
            "task": NAME,
            "interval": interval,
            "expire_seconds": minutes * 60,
            "description": "Deletes expired experiments with everything they own.",
        },
    )


def drop_entry(apps, schema_editor):
    apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(name=NAME).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("batches", "0006_experiments"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [migrations.RunPython(make_entry, drop_entry)]

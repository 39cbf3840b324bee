from django.conf import settings
from django.db import migrations


def make_entries(apps, schema_editor):
    IntervalSchedule = apps.get_model("django_celery_beat", "IntervalSchedule")
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    for name, every, period, seconds, description in (
        (
            "evalsched.tick",
            settings.EVALSCHED_TICK_SECONDS,
            "seconds",
            settings.EVALSCHED_TICK_SECONDS,
            "Starts what is due, frees what is lost, wakes workers for what waits.",
        ),
        ("evalsched.sweep", 1, "hours", 3600, "Forgets what nobody may ask for again."),
    ):
        interval, _ = IntervalSchedule.objects.get_or_create(every=every, period=period)
        PeriodicTask.objects.get_or_create(
            name=name,
            defaults={
                "task": name,
                "interval": interval,
                "expire_seconds": seconds,
                "description": description,
            },
        )


def drop_entries(apps, schema_editor):
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    PeriodicTask.objects.filter(name__in=["evalsched.tick", "evalsched.sweep"]).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("evalsched", "0002_isolation"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [migrations.RunPython(make_entries, drop_entries)]

from django.db import migrations


def make_entry(apps, schema_editor):
    IntervalSchedule = apps.get_model("django_celery_beat", "IntervalSchedule")
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    interval, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
    PeriodicTask.objects.get_or_create(
        name="evalsched.evaluate",
        defaults={
            "task": "evalsched.evaluate",
            "interval": interval,
            "expire_seconds": 5,
            "description": "Evaluates the alert rules, once for each minute.",
        },
    )


def drop_entry(apps, schema_editor):
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    PeriodicTask.objects.filter(name="evalsched.evaluate").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0008_rules"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [migrations.RunPython(make_entry, drop_entry)]

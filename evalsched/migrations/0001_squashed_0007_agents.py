import access.ids
import access.secrets
import django.contrib.postgres.fields
import django.db.models.deletion
import evalsched.metrics
from django.conf import settings
from django.db import migrations, models

from access.isolation import OwnedKey, OwnedTable

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

    replaces = [
        ("evalsched", "0001_initial"),
        ("evalsched", "0002_isolation"),
        ("evalsched", "0003_beat"),
        ("evalsched", "0004_schedule_limits"),
        ("evalsched", "0005_verdicts"),
        ("evalsched", "0006_model_runs"),
        ("evalsched", "0007_agents"),
    ]

    initial = True

    dependencies = [
        ('django_celery_beat', '0019_alter_periodictasks_options'),
        ('access', '0001_squashed_0003_heartbeat'),
        ('batches', '0001_squashed_0011_unjudged'),
    ]

    operations = [
        migrations.CreateModel(
            name='Run',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('status', models.CharField(choices=[('triggered', 'Triggered'), ('running', 'Running'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('skipped', 'Skipped'), ('missed', 'Missed')], default='triggered', max_length=10)),
                ('trigger', models.CharField(choices=[('schedule', 'Schedule'), ('manual', 'Manual'), ('api', 'Api'), ('backfill', 'Backfill')], max_length=10)),
                ('scheduled_for', models.DateTimeField()),
                ('triggered_at', models.DateTimeField()),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('completed_at', models.DateTimeField(blank=True, null=True)),
                ('deadline_at', models.DateTimeField(blank=True, null=True)),
                ('backfill_id', models.UUIDField(blank=True, null=True)),
                ('total_prompts', models.PositiveIntegerField(blank=True, null=True)),
                ('successful_prompts', models.PositiveIntegerField(blank=True, null=True)),
                ('failed_prompts', models.PositiveIntegerField(blank=True, null=True)),
                ('avg_latency_ms', models.FloatField(blank=True, null=True)),
                ('p95_latency_ms', models.FloatField(blank=True, null=True)),
                ('avg_ttft_ms', models.FloatField(blank=True, null=True)),
                ('avg_quality_score', models.FloatField(blank=True, null=True)),
                ('total_cost', models.DecimalField(blank=True, decimal_places=12, max_digits=18, null=True)),
                ('error_message', models.TextField(blank=True)),
                ('error_details', models.JSONField(blank=True, default=dict)),
                ('regression_detected', models.BooleanField(db_default=False, default=False)),
                ('regression_details', models.JSONField(blank=True, null=True)),
                ('snapshot', models.JSONField(default=dict)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('baseline', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='evalsched.run')),
                ('batch', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='runs', to='batches.batch')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-scheduled_for', '-id'],
                'indexes': [models.Index(fields=['batch'], name='run_of_batch'), models.Index(condition=models.Q(('status', 'running')), fields=['deadline_at'], name='run_running')],
                'constraints': [models.CheckConstraint(condition=models.Q(('trigger', 'backfill'), ('backfill_id__isnull', True), _connector='XOR'), name='backfill_iff_of_one'), models.CheckConstraint(condition=models.Q(('status__in', ['triggered', 'running', 'completed', 'failed', 'cancelled', 'skipped', 'missed'])), name='run_status'), models.CheckConstraint(condition=models.Q(models.Q(('completed_at__isnull', False), ('status__in', frozenset(['cancelled', 'completed', 'failed', 'missed', 'skipped']))), models.Q(('completed_at__isnull', True), ('status__in', frozenset(['running', 'triggered']))), _connector='OR'), name='run_finished_iff_dated'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'running'), _negated=True), models.Q(('deadline_at__isnull', False), ('started_at__isnull', False)), _connector='OR'), name='run_running_has_a_deadline'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'failed'), _negated=True), models.Q(('error_message', ''), _negated=True), _connector='OR'), name='run_failed_says_why'), models.CheckConstraint(condition=models.Q(('regression_details__isnull', True), ('status', 'completed'), _connector='OR'), name='run_compared_only_if_completed'), models.CheckConstraint(condition=models.Q(('regression_detected', False), ('regression_details__isnull', False), _connector='OR'), name='run_regressed_says_why')],
            },
        ),
        migrations.CreateModel(
            name='Execution',
            fields=[
            ],
            options={
                'verbose_name': 'execution',
                'ordering': ['-scheduled_for', '-id'],
                'proxy': True,
            },
            bases=('evalsched.run',),
        ),
        migrations.CreateModel(
            name='Schedule',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('kind', models.CharField(choices=[('evaluation', 'Evaluation'), ('model_run', 'Model run')], db_default='evaluation', default='evaluation', editable=False, max_length=10)),
                ('name', models.CharField(max_length=200)),
                ('description', models.TextField(blank=True)),
                ('schedule_type', models.CharField(choices=[('hourly', 'Hourly'), ('daily', 'Daily at 02:00'), ('weekly', 'Mondays at 02:00'), ('custom', 'Cron expression')], max_length=10)),
                ('cron_expression', models.CharField(blank=True, max_length=200)),
                ('timezone', models.CharField(default='UTC', max_length=64)),
                ('dst_gap', models.CharField(blank=True, max_length=10)),
                ('dst_overlap', models.CharField(blank=True, max_length=10)),
                ('jitter_seconds', models.PositiveIntegerField(default=0)),
                ('starts_at', models.DateTimeField(blank=True, null=True)),
                ('ends_at', models.DateTimeField(blank=True, null=True)),
                ('max_runs', models.PositiveIntegerField(blank=True, null=True)),
                ('runs_made', models.PositiveIntegerField(default=0)),
                ('parameters', access.secrets.SecretField(blank=True, db_default='', default='', editable=False)),
                ('batch_test_config', models.JSONField(blank=True, default=dict)),
                ('is_active', models.BooleanField(default=True)),
                ('overlap_policy', models.CharField(choices=[('skip', 'Skip the new one'), ('cancel_previous', 'Cancel the earlier one'), ('allow', 'Let both run')], default='skip', max_length=20)),
                ('catchup_policy', models.CharField(choices=[('latest', 'The newest'), ('earliest', 'The oldest'), ('all', 'All of them'), ('none', 'None')], default='latest', max_length=10)),
                ('catchup_window_minutes', models.PositiveIntegerField(blank=True, null=True)),
                ('alert_on_failure', models.BooleanField(default=True)),
                ('alert_on_regression', models.BooleanField(default=True)),
                ('regression_threshold_percent', models.FloatField(default=10)),
                ('regression_method', models.CharField(choices=[('auto', 'By statistics; with fewer than 10 cases by the threshold'), ('statistical', 'By statistics only'), ('threshold', 'By the threshold only')], default='auto', max_length=20)),
                ('gated_metrics', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('quality', 'Quality'), ('pass_rate', 'Pass rate'), ('latency', 'Latency'), ('ttft', 'Time to first token'), ('cost', 'Cost')], max_length=20), default=evalsched.metrics.gated_by_default, size=None)),
                ('paired_spread', models.FloatField(null=True)),
                ('next_run_at', models.DateTimeField(blank=True, null=True)),
                ('last_run_at', models.DateTimeField(blank=True, null=True)),
                ('last_run_status', models.CharField(blank=True, choices=[('success', 'Success'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], max_length=10)),
                ('last_run_id', models.UUIDField(blank=True, null=True)),
                ('consecutive_failures', models.PositiveIntegerField(default=0)),
                ('paused_until', models.DateTimeField(blank=True, null=True)),
                ('pause_reason', models.TextField(blank=True)),
                ('paused_by_hand', models.BooleanField(default=False)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('agent', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='schedules', to='batches.agent')),
                ('baseline', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='evalsched.run')),
                ('endpoint', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='schedules', to='batches.modelendpoint')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('suite', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='schedules', to='batches.testsuite')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
                'indexes': [models.Index(fields=['project', 'kind', '-created_at'], name='schedule_newest'), models.Index(condition=models.Q(('is_active', True)), fields=['next_run_at'], name='schedule_due'), models.Index(condition=models.Q(('paused_until__isnull', False)), fields=['paused_until'], name='schedule_paused')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('kind', 'evaluation')), fields=('project', 'name'), name='one_schedule_of_a_name'), models.CheckConstraint(condition=models.Q(models.Q(('kind', 'evaluation'), ('parameters', ''), ('suite__isnull', False)), models.Q(('kind', 'model_run'), ('suite__isnull', True), ('schedule_type', 'custom'), models.Q(('parameters', ''), _negated=True)), _connector='OR'), name='schedule_is_of_one_kind'), models.CheckConstraint(condition=models.Q(models.Q(('agent__isnull', True), ('endpoint__isnull', False)), models.Q(('agent__isnull', False), ('endpoint__isnull', True), ('kind', 'evaluation')), _connector='OR'), name='schedule_asks_a_model_or_an_agent'), models.CheckConstraint(condition=models.Q(('schedule_type', 'custom'), ('cron_expression', ''), _connector='XOR'), name='cron_iff_custom'), models.CheckConstraint(condition=models.Q(('is_active', True), ('next_run_at__isnull', True), _connector='OR'), name='inactive_is_never_due'), models.CheckConstraint(condition=models.Q(('regression_threshold_percent__gte', 0), ('regression_threshold_percent__lte', 100)), name='threshold_is_a_percentage'), models.CheckConstraint(condition=models.Q(('jitter_seconds__lte', 86400)), name='jitter_within_a_day'), models.CheckConstraint(condition=models.Q(('starts_at__isnull', True), ('ends_at__isnull', True), ('ends_at__gt', models.F('starts_at')), _connector='OR'), name='ends_after_it_starts'), models.CheckConstraint(condition=models.Q(('max_runs__isnull', True), ('max_runs__gte', 1), _connector='OR'), name='max_runs_at_least_one'), models.CheckConstraint(condition=models.Q(('is_active', False), ('paused_until__isnull', False), ('pause_reason', ''), _connector='OR'), name='a_reason_only_while_paused'), models.CheckConstraint(condition=models.Q(('regression_method__in', ['auto', 'statistical', 'threshold'])), name='known_regression_method'), models.CheckConstraint(condition=models.Q(('gated_metrics__contained_by', ['quality', 'pass_rate', 'latency', 'ttft', 'cost']), ('gated_metrics__len__gt', 0)), name='gated_metrics_are_known')],
            },
        ),
        migrations.AddField(
            model_name='run',
            name='schedule',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='runs', to='evalsched.schedule'),
        ),
        migrations.CreateModel(
            name='ModelRun',
            fields=[
            ],
            options={
                'verbose_name': 'scheduled model run',
                'ordering': ['-created_at'],
                'proxy': True,
            },
            bases=('evalsched.schedule',),
        ),
        migrations.AddIndex(
            model_name='run',
            index=models.Index(fields=['schedule', '-scheduled_for'], name='run_newest'),
        ),
        migrations.AddIndex(
            model_name='run',
            index=models.Index(condition=models.Q(('regression_detected', False), ('status', 'completed')), fields=['schedule', '-completed_at'], name='run_last_good'),
        ),
        migrations.AddIndex(
            model_name='run',
            index=models.Index(condition=models.Q(('status__in', ['triggered', 'running'])), fields=['schedule', 'scheduled_for'], name='run_open_of_schedule'),
        ),
        migrations.AddIndex(
            model_name='run',
            index=models.Index(condition=models.Q(('status', 'triggered')), fields=['scheduled_for', 'id'], name='run_waiting'),
        ),
        migrations.AddConstraint(
            model_name='run',
            constraint=models.UniqueConstraint(condition=models.Q(('trigger', 'schedule')), fields=('schedule', 'scheduled_for'), name='one_run_per_occurrence'),
        ),
        migrations.AddConstraint(
            model_name='run',
            constraint=models.UniqueConstraint(condition=models.Q(('trigger', 'backfill')), fields=('backfill_id', 'scheduled_for'), name='one_run_per_backfilled_occurrence'),
        ),
        OwnedTable("Schedule", {"suite": "RESTRICT", "endpoint": "RESTRICT", "agent": "RESTRICT"}),
        OwnedTable("Run", {"schedule": "CASCADE", "batch": "SET NULL", "baseline": "SET NULL"}),
        # A run points at its schedule, and the schedule at the run that is its baseline.
        OwnedKey("Schedule", "baseline", "SET NULL"),
        migrations.RunPython(make_entries, drop_entries),
    ]

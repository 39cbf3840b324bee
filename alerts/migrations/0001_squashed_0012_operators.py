import access.ids
import access.secrets
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from django.utils import timezone

from access.isolation import THIS_PROJECT, THIS_USER, OwnedTable
from alerts import partitions

# Django makes plain tables; their indexes follow at the end of the migration, on these.
_TRACES_BY_DAY = """
    ALTER TABLE alerts_trace DROP CONSTRAINT one_trace_per_span;
    ALTER TABLE alerts_trace RENAME TO alerts_trace_plain;
    CREATE TABLE alerts_trace (
        LIKE alerts_trace_plain INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING CONSTRAINTS,
        PRIMARY KEY (id, ended_at),
        CONSTRAINT one_trace_per_span UNIQUE (project_id, trace_id, span_id, ended_at)
    ) PARTITION BY RANGE (ended_at);
    DROP TABLE alerts_trace_plain;
"""
_EVALUATIONS_BY_DAY = """
    ALTER TABLE alerts_ruleevaluation DROP CONSTRAINT one_evaluation_a_minute;
    ALTER TABLE alerts_ruleevaluation RENAME TO alerts_ruleevaluation_plain;
    CREATE TABLE alerts_ruleevaluation (
        LIKE alerts_ruleevaluation_plain INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING CONSTRAINTS,
        PRIMARY KEY (id, first_minute),
        CONSTRAINT one_evaluation_a_minute UNIQUE (rule_id, "group", first_minute)
    ) PARTITION BY RANGE (first_minute);
    DROP TABLE alerts_ruleevaluation_plain;
"""
_ARRAYS = [
    name + part
    for name in ("latency", "ttft", "tokens", "cost")
    for part in ("_counts", "_stats", "")
]
# Floating-point numbers do not get smaller; trying costs more than writing them.
_EXTERNAL = ", ".join(f"ALTER COLUMN {name} SET STORAGE EXTERNAL" for name in _ARRAYS)


def make_days(apps, schema_editor):
    now = timezone.now()
    for table, days in (
        ("alerts_trace", settings.EVALSCHED_TRACE_RETENTION_DAYS),
        ("alerts_ruleevaluation", settings.EVALSCHED_EVALUATION_RETENTION_DAYS),
    ):
        partitions.keep(table, days=days, now=now)


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

    replaces = [
        ("alerts", "0001_initial"),
        ("alerts", "0002_isolation"),
        ("alerts", "0003_notification_status"),
        ("alerts", "0004_rename_kind"),
        ("alerts", "0005_channels"),
        ("alerts", "0006_channels_isolation"),
        ("alerts", "0007_traces"),
        ("alerts", "0008_rules"),
        ("alerts", "0009_beat"),
        ("alerts", "0010_anomalies"),
        ("alerts", "0011_event_notice"),
        ("alerts", "0012_operators"),
    ]

    initial = True

    dependencies = [
        ('django_celery_beat', '0019_alter_periodictasks_options'),
        ('access', '0001_squashed_0003_heartbeat'),
    ]

    operations = [
        migrations.CreateModel(
            name='AlertRule',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('rule_name', models.CharField(max_length=200)),
                ('description', models.TextField(blank=True)),
                ('metric_type', models.CharField(choices=[('latency', 'Latency'), ('error_rate', 'Error Rate'), ('cost', 'Cost'), ('throughput', 'Throughput'), ('ttft', 'Ttft'), ('token_usage', 'Token Usage'), ('anomaly_severity', 'Anomaly Severity')], max_length=20)),
                ('threshold_value', models.DecimalField(decimal_places=12, max_digits=30)),
                ('comparison_operator', models.CharField(choices=[('>', 'Above'), ('<', 'Below'), ('>=', 'At Least'), ('<=', 'At Most'), ('==', 'Equal'), ('!=', 'Unequal')], max_length=2)),
                ('time_window_minutes', models.PositiveIntegerField()),
                ('aggregation_method', models.CharField(choices=[('p50', 'P50'), ('p95', 'P95'), ('p99', 'P99'), ('avg', 'Avg'), ('max', 'Max'), ('min', 'Min'), ('count', 'Count'), ('sum', 'Sum')], max_length=5)),
                ('model_filter', models.CharField(blank=True, max_length=200)),
                ('operation_filter', models.CharField(blank=True, max_length=128)),
                ('status_filter', models.CharField(blank=True, choices=[('success', 'Success'), ('error', 'Error')], max_length=7)),
                ('source_filter', models.CharField(choices=[('ingest', 'Ingest'), ('evaluation', 'Evaluation'), ('any', 'Any')], default='ingest', max_length=10)),
                ('group_by', models.CharField(blank=True, choices=[('model', 'Model'), ('operation', 'Operation')], max_length=10)),
                ('notify_email', models.BooleanField(default=True)),
                ('notify_webhooks', models.BooleanField(default=False)),
                ('notify_integrations', models.BooleanField(default=False)),
                ('cooldown_minutes', models.PositiveIntegerField(default=60)),
                ('renotify', models.BooleanField(default=True)),
                ('for_minutes', models.PositiveIntegerField(default=0)),
                ('keep_firing_minutes', models.PositiveIntegerField(default=0)),
                ('recovery_threshold', models.DecimalField(blank=True, decimal_places=12, max_digits=30, null=True)),
                ('tolerance', models.DecimalField(decimal_places=12, default=0, max_digits=30)),
                ('min_samples', models.PositiveIntegerField(default=1)),
                ('no_data_mode', models.CharField(blank=True, choices=[('zero', 'Zero'), ('no_data', 'No Data'), ('alert', 'Alert')], max_length=8)),
                ('severity', models.CharField(choices=[('info', 'Info'), ('warning', 'Warning'), ('critical', 'Critical')], default='warning', max_length=10)),
                ('enabled', models.BooleanField(default=True)),
                ('pause_reason', models.TextField(blank=True)),
                ('watched_from', models.DateTimeField()),
                ('last_triggered_at', models.DateTimeField(blank=True, null=True)),
                ('trigger_count', models.PositiveIntegerField(default=0)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
                'indexes': [models.Index(condition=models.Q(('enabled', True)), fields=['project'], name='rule_enabled')],
                'constraints': [models.UniqueConstraint(fields=('project', 'rule_name'), name='one_rule_of_a_name'), models.CheckConstraint(condition=models.Q(('time_window_minutes__gte', 1), ('time_window_minutes__lte', 1440)), name='rule_window'), models.CheckConstraint(condition=models.Q(models.Q(('last_triggered_at__isnull', True), ('trigger_count', 0)), models.Q(('last_triggered_at__isnull', False), ('trigger_count__gt', 0)), _connector='OR'), name='rule_triggered_iff_dated'), models.CheckConstraint(condition=models.Q(('enabled', False), ('pause_reason', ''), _connector='OR'), name='rule_reason_only_if_disabled')],
            },
        ),
        migrations.CreateModel(
            name='Alert',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('group', models.CharField(blank=True, max_length=200)),
                ('status', models.CharField(choices=[('firing', 'Firing'), ('resolved', 'Resolved')], default='firing', max_length=10)),
                ('severity', models.CharField(choices=[('info', 'Info'), ('warning', 'Warning'), ('critical', 'Critical')], max_length=10)),
                ('started_at', models.DateTimeField()),
                ('resolved_at', models.DateTimeField(null=True)),
                ('resolution', models.CharField(blank=True, max_length=20)),
                ('acknowledged_at', models.DateTimeField(null=True)),
                ('first_value', models.FloatField(null=True)),
                ('last_value', models.FloatField(null=True)),
                ('peak_value', models.FloatField(null=True)),
                ('samples', models.BigIntegerField(default=0)),
                ('notices', models.PositiveIntegerField(default=0)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('acknowledged_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('resolved_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('rule', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='alerts', to='alerts.alertrule')),
            ],
            options={
                'ordering': ['-created_at'],
                'indexes': [models.Index(fields=['project', '-created_at'], name='alert_newest')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('status', 'firing')), fields=('rule', 'group'), name='one_open_alert'), models.CheckConstraint(condition=models.Q(('status__in', ['firing', 'resolved'])), name='alert_status'), models.CheckConstraint(condition=models.Q(models.Q(('resolved_at__isnull', False), ('status', 'resolved')), models.Q(('resolved_at__isnull', True), ('status', 'firing')), _connector='OR'), name='alert_resolved_iff_dated'), models.CheckConstraint(condition=models.Q(models.Q(('acknowledged_at__isnull', True), ('acknowledged_by__isnull', True)), models.Q(('acknowledged_at__isnull', False), ('acknowledged_by__isnull', False)), _connector='OR'), name='alert_acknowledged_by_somebody')],
            },
        ),
        migrations.CreateModel(
            name='Anomaly',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('minute', models.DateTimeField()),
                ('metric_type', models.CharField(max_length=20)),
                ('model', models.CharField(blank=True, max_length=200)),
                ('severity', models.PositiveSmallIntegerField(choices=[(1, 'Low'), (2, 'Medium'), (3, 'High'), (4, 'Critical')])),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
            ],
            options={
                'verbose_name_plural': 'anomalies',
                'constraints': [models.UniqueConstraint(fields=('project', 'minute', 'metric_type', 'model'), name='one_anomaly_a_minute'), models.CheckConstraint(condition=models.Q(('severity__gte', 1), ('severity__lte', 4)), name='anomaly_severity')],
            },
        ),
        migrations.CreateModel(
            name='Channel',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('kind', models.CharField(choices=[('email', 'Email'), ('webhook', 'Webhook'), ('slack', 'Slack')], max_length=10)),
                ('name', models.CharField(max_length=200)),
                ('configuration', models.JSONField(default=dict)),
                ('secret', access.secrets.SecretField(blank=True, default='', editable=False)),
                ('previous_secret', access.secrets.SecretField(blank=True, default='', editable=False)),
                ('previous_secret_expires_at', models.DateTimeField(null=True)),
                ('enabled', models.BooleanField(default=True)),
                ('disabled_reason', models.TextField(blank=True)),
                ('busy_until', models.DateTimeField(null=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
                'constraints': [models.UniqueConstraint(fields=('project', 'name'), name='one_channel_of_a_name'), models.CheckConstraint(condition=models.Q(('kind__in', ['email', 'webhook', 'slack'])), name='known_channel_kind'), models.CheckConstraint(condition=models.Q(('enabled', False), ('disabled_reason', ''), _connector='OR'), name='channel_reason_only_if_disabled'), models.CheckConstraint(condition=models.Q(('kind', 'email'), models.Q(('secret', ''), _negated=True), _connector='OR'), name='channel_has_its_secret')],
            },
        ),
        migrations.CreateModel(
            name='DirtyMinute',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('minute', models.DateTimeField()),
                ('project', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='access.project')),
            ],
            options={
                'indexes': [models.Index(fields=['project', 'id'], name='dirty_minute_of_project')],
            },
        ),
        migrations.CreateModel(
            name='EvaluationPass',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('minute', models.DateTimeField()),
                ('status', models.CharField(choices=[('evaluated', 'Evaluated'), ('skipped', 'Skipped')], max_length=10)),
                ('evaluated_at', models.DateTimeField()),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('project', 'minute'), name='one_pass_a_minute'), models.CheckConstraint(condition=models.Q(('status__in', ['evaluated', 'skipped'])), name='pass_status')],
            },
        ),
        migrations.CreateModel(
            name='Event',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('alert_type', models.CharField(choices=[('job_started', 'Job Started'), ('job_completed', 'Job Completed'), ('job_failed', 'Job Failed'), ('batch_completed', 'Batch Completed'), ('batch_failed', 'Batch Failed'), ('evaluation_failed', 'Evaluation Failed'), ('evaluation_regression', 'Evaluation Regression'), ('schedule_disabled', 'Schedule Disabled'), ('trace_latency_high', 'Trace Latency High'), ('trace_error_rate_high', 'Trace Error Rate High'), ('trace_cost_high', 'Trace Cost High'), ('trace_throughput_low', 'Trace Throughput Low'), ('trace_ttft_high', 'Trace Ttft High'), ('token_usage_high', 'Token Usage High'), ('anomaly_critical', 'Anomaly Critical'), ('anomaly_high', 'Anomaly High'), ('rule_error', 'Rule Error'), ('scheduler_unhealthy', 'Scheduler Unhealthy'), ('daily_summary', 'Daily Summary'), ('weekly_digest', 'Weekly Digest'), ('channel_disabled', 'Channel Disabled'), ('channel_test', 'Channel Test')], max_length=40)),
                ('key', models.CharField(max_length=100)),
                ('episode', models.CharField(blank=True, max_length=100)),
                ('notice', models.CharField(blank=True, max_length=10)),
                ('subject', models.CharField(max_length=300)),
                ('summary', models.TextField()),
                ('facts', models.JSONField(default=list)),
                ('path', models.CharField(blank=True, max_length=300)),
                ('links', models.JSONField(default=list)),
                ('occurred_at', models.DateTimeField()),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-occurred_at'],
                'indexes': [models.Index(fields=['project', '-occurred_at'], name='event_newest')],
                'constraints': [models.UniqueConstraint(fields=('alert_type', 'key'), name='one_event_per_happening'), models.CheckConstraint(condition=models.Q(('alert_type__in', ['job_started', 'job_completed', 'job_failed', 'batch_completed', 'batch_failed', 'evaluation_failed', 'evaluation_regression', 'schedule_disabled', 'trace_latency_high', 'trace_error_rate_high', 'trace_cost_high', 'trace_throughput_low', 'trace_ttft_high', 'token_usage_high', 'anomaly_critical', 'anomaly_high', 'rule_error', 'scheduler_unhealthy', 'daily_summary', 'weekly_digest', 'channel_disabled', 'channel_test'])), name='known_alert_type')],
            },
        ),
        migrations.CreateModel(
            name='LateArrival',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('minute', models.DateTimeField()),
                ('packed_at', models.DateTimeField()),
                ('source', models.CharField(max_length=10)),
                ('model', models.CharField(blank=True, max_length=200)),
                ('operation', models.CharField(max_length=128)),
                ('status', models.CharField(max_length=7)),
                ('count', models.IntegerField()),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
            ],
            options={
                'indexes': [models.Index(fields=['project', 'minute'], name='late_arrival_minute')],
            },
        ),
        migrations.CreateModel(
            name='Notification',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('target', models.CharField(default='author', max_length=40)),
                ('kind', models.CharField(choices=[('email', 'Email'), ('webhook', 'Webhook'), ('slack', 'Slack')], max_length=20)),
                ('address', models.CharField(max_length=320)),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('sending', 'Sending'), ('sent', 'Sent'), ('failed', 'Failed')], default='pending', max_length=10)),
                ('claim_no', models.PositiveIntegerField(default=0)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('not_before', models.DateTimeField()),
                ('hinted_at', models.DateTimeField(null=True)),
                ('lease_expires_at', models.DateTimeField(null=True)),
                ('sent_at', models.DateTimeField(null=True)),
                ('error_message', models.TextField(blank=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('channel', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='notifications', to='alerts.channel')),
                ('event', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='notifications', to='alerts.event')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
                'indexes': [models.Index(fields=['project', '-created_at'], name='notification_newest'), models.Index(condition=models.Q(('status__in', ['pending', 'sending'])), fields=['not_before'], name='notification_open')],
                'constraints': [models.UniqueConstraint(fields=('event', 'target'), name='one_notification_per_target'), models.CheckConstraint(condition=models.Q(('kind__in', ['email', 'webhook', 'slack'])), name='notification_kind'), models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'sending', 'sent', 'failed'])), name='notification_status'), models.CheckConstraint(condition=models.Q(models.Q(('lease_expires_at__isnull', False), ('status', 'sending')), models.Q(models.Q(('status', 'sending'), _negated=True), ('lease_expires_at__isnull', True)), _connector='OR'), name='notification_sending_iff_leased'), models.CheckConstraint(condition=models.Q(models.Q(('sent_at__isnull', False), ('status', 'sent')), models.Q(models.Q(('status', 'sent'), _negated=True), ('sent_at__isnull', True)), _connector='OR'), name='notification_sent_iff_dated')],
            },
        ),
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('number', models.PositiveIntegerField()),
                ('outcome', models.CharField(choices=[('sent', 'Sent'), ('rejected', 'Rejected'), ('rate_limited', 'Rate Limited'), ('gone', 'Gone'), ('server_error', 'Server Error'), ('timeout', 'Timeout'), ('network', 'Network'), ('blocked', 'Blocked'), ('lost', 'Lost'), ('error', 'Error')], max_length=20)),
                ('status_code', models.PositiveSmallIntegerField(null=True)),
                ('error_message', models.TextField(blank=True)),
                ('started_at', models.DateTimeField()),
                ('duration_ms', models.FloatField(null=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('notification', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='history', to='alerts.notification')),
            ],
            options={
                'ordering': ['number'],
                'constraints': [models.UniqueConstraint(fields=('notification', 'number'), name='one_attempt_per_claim'), models.CheckConstraint(condition=models.Q(('outcome__in', ['sent', 'rejected', 'rate_limited', 'gone', 'server_error', 'timeout', 'network', 'blocked', 'lost', 'error'])), name='attempt_outcome')],
            },
        ),
        migrations.CreateModel(
            name='Preference',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('alert_type', models.CharField(choices=[('job_started', 'Job Started'), ('job_completed', 'Job Completed'), ('job_failed', 'Job Failed'), ('batch_completed', 'Batch Completed'), ('batch_failed', 'Batch Failed'), ('evaluation_failed', 'Evaluation Failed'), ('evaluation_regression', 'Evaluation Regression'), ('schedule_disabled', 'Schedule Disabled'), ('trace_latency_high', 'Trace Latency High'), ('trace_error_rate_high', 'Trace Error Rate High'), ('trace_cost_high', 'Trace Cost High'), ('trace_throughput_low', 'Trace Throughput Low'), ('trace_ttft_high', 'Trace Ttft High'), ('token_usage_high', 'Token Usage High'), ('anomaly_critical', 'Anomaly Critical'), ('anomaly_high', 'Anomaly High'), ('rule_error', 'Rule Error'), ('scheduler_unhealthy', 'Scheduler Unhealthy'), ('daily_summary', 'Daily Summary'), ('weekly_digest', 'Weekly Digest'), ('channel_disabled', 'Channel Disabled'), ('channel_test', 'Channel Test')], max_length=40)),
                ('channel', models.CharField(choices=[('email', 'Email'), ('webhook', 'Webhook'), ('slack', 'Slack')], max_length=10)),
                ('enabled', models.BooleanField()),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['alert_type', 'channel'],
                'constraints': [models.UniqueConstraint(fields=('project', 'user', 'alert_type', 'channel'), name='one_preference'), models.CheckConstraint(condition=models.Q(('alert_type__in', ['job_started', 'job_completed', 'job_failed', 'batch_completed', 'batch_failed', 'evaluation_failed', 'evaluation_regression', 'schedule_disabled', 'trace_latency_high', 'trace_error_rate_high', 'trace_cost_high', 'trace_throughput_low', 'trace_ttft_high', 'token_usage_high', 'anomaly_critical', 'anomaly_high', 'rule_error', 'scheduler_unhealthy', 'daily_summary', 'weekly_digest', 'channel_disabled', 'channel_test'])), name='preference_alert_type'), models.CheckConstraint(condition=models.Q(('channel__in', ['email', 'webhook', 'slack'])), name='preference_channel')],
            },
        ),
        migrations.CreateModel(
            name='Rollup',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('minute', models.DateTimeField()),
                ('packed_at', models.DateTimeField()),
                ('groups', models.TextField()),
                ('latency_counts', models.BinaryField()),
                ('latency_stats', models.BinaryField()),
                ('latency', models.BinaryField()),
                ('ttft_counts', models.BinaryField()),
                ('ttft_stats', models.BinaryField()),
                ('ttft', models.BinaryField()),
                ('tokens_counts', models.BinaryField()),
                ('tokens_stats', models.BinaryField()),
                ('tokens', models.BinaryField()),
                ('cost_counts', models.BinaryField()),
                ('cost_stats', models.BinaryField()),
                ('cost', models.BinaryField()),
                ('crowded', models.BooleanField(default=False)),
                ('reported_cost', models.DecimalField(decimal_places=12, default=0, max_digits=30)),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
            ],
            options={
                'indexes': [models.Index(fields=['minute'], include=('reported_cost',), name='rollup_spending')],
                'constraints': [models.UniqueConstraint(fields=('project', 'minute'), name='one_rollup_a_minute')],
            },
        ),
        migrations.CreateModel(
            name='RuleEvaluation',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('rule_id', models.UUIDField()),
                ('group', models.CharField(blank=True, max_length=200)),
                ('first_minute', models.DateTimeField()),
                ('last_minute', models.DateTimeField()),
                ('metric_value', models.FloatField(null=True)),
                ('threshold_value', models.FloatField()),
                ('window_minutes', models.PositiveIntegerField()),
                ('sample_count', models.BigIntegerField()),
                ('triggered', models.BooleanField()),
                ('state', models.CharField(choices=[('inactive', 'Inactive'), ('pending', 'Pending'), ('firing', 'Firing'), ('recovering', 'Recovering')], max_length=10)),
                ('health', models.CharField(choices=[('ok', 'Ok'), ('no_data', 'No Data'), ('insufficient', 'Insufficient'), ('error', 'Error')], max_length=12)),
                ('error_message', models.CharField(blank=True, max_length=300)),
                ('evaluated_at', models.DateTimeField()),
                ('project', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='access.project')),
                ('user', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-last_minute', '-id'],
                'indexes': [models.Index(fields=['project', 'last_minute'], name='evaluation_last')],
                'constraints': [models.UniqueConstraint(fields=('rule_id', 'group', 'first_minute'), name='one_evaluation_a_minute'), models.CheckConstraint(condition=models.Q(('last_minute__gte', models.F('first_minute'))), name='evaluation_forward')],
            },
        ),
        migrations.CreateModel(
            name='RuleState',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('group', models.CharField(blank=True, max_length=200)),
                ('state', models.CharField(choices=[('inactive', 'Inactive'), ('pending', 'Pending'), ('firing', 'Firing'), ('recovering', 'Recovering')], default='inactive', max_length=10)),
                ('health', models.CharField(choices=[('ok', 'Ok'), ('no_data', 'No Data'), ('insufficient', 'Insufficient'), ('error', 'Error')], default='ok', max_length=12)),
                ('since', models.DateTimeField(null=True)),
                ('notified_at', models.DateTimeField(null=True)),
                ('told', models.BooleanField(default=False)),
                ('errors_in_row', models.PositiveSmallIntegerField(default=0)),
                ('revision', models.PositiveIntegerField(default=0)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('rule', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='states', to='alerts.alertrule')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('rule', 'group'), name='one_state_per_group'), models.CheckConstraint(condition=models.Q(('state__in', ['inactive', 'pending', 'firing', 'recovering'])), name='rule_state'), models.CheckConstraint(condition=models.Q(('health__in', ['ok', 'no_data', 'insufficient', 'error'])), name='rule_health'), models.CheckConstraint(condition=models.Q(models.Q(('since__isnull', False), ('state__in', ['pending', 'recovering'])), models.Q(('since__isnull', True), ('state__in', ['inactive', 'firing'])), _connector='OR'), name='rule_state_since_iff_waiting'), models.CheckConstraint(condition=models.Q(('told', False), ('state__in', ['firing', 'recovering']), _connector='OR'), name='rule_state_told_while_active')],
            },
        ),
        migrations.CreateModel(
            name='Trace',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField()),
                ('source', models.CharField(choices=[('ingest', 'Ingest'), ('evaluation', 'Evaluation')], max_length=10)),
                ('trace_id', models.CharField(max_length=64)),
                ('span_id', models.CharField(max_length=64)),
                ('parent_span_id', models.CharField(blank=True, max_length=64)),
                ('span_name', models.CharField(max_length=256)),
                ('operation', models.CharField(max_length=128)),
                ('model', models.CharField(blank=True, max_length=200)),
                ('model_requested', models.CharField(blank=True, max_length=200)),
                ('provider', models.CharField(blank=True, max_length=100)),
                ('status', models.CharField(choices=[('success', 'Success'), ('error', 'Error')], max_length=7)),
                ('error_type', models.CharField(blank=True, max_length=200)),
                ('latency_ms', models.FloatField()),
                ('ttft_ms', models.FloatField(null=True)),
                ('input_tokens', models.BigIntegerField(null=True)),
                ('cached_tokens', models.BigIntegerField(null=True)),
                ('output_tokens', models.BigIntegerField(null=True)),
                ('total_tokens', models.BigIntegerField(null=True)),
                ('cost', models.DecimalField(decimal_places=12, max_digits=18, null=True)),
                ('cost_source', models.CharField(blank=True, max_length=10)),
                ('started_at', models.DateTimeField()),
                ('ended_at', models.DateTimeField()),
                ('attributes', models.JSONField(default=dict)),
                ('project', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='access.project')),
                ('user', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-ended_at', '-id'],
                'indexes': [models.Index(fields=['project', 'ended_at', 'id'], name='trace_newest')],
                'constraints': [models.UniqueConstraint(fields=('project', 'trace_id', 'span_id', 'ended_at'), name='one_trace_per_span'), models.CheckConstraint(condition=models.Q(('source__in', ['ingest', 'evaluation'])), name='trace_source'), models.CheckConstraint(condition=models.Q(('status__in', ['success', 'error'])), name='trace_status'), models.CheckConstraint(condition=models.Q(('latency_ms__gte', 0)), name='trace_latency')],
            },
        ),
        migrations.RunSQL(_TRACES_BY_DAY, migrations.RunSQL.noop),
        migrations.RunSQL(_EVALUATIONS_BY_DAY, migrations.RunSQL.noop),
        migrations.RunSQL(f"ALTER TABLE alerts_rollup {_EXTERNAL}", migrations.RunSQL.noop),
        OwnedTable("Event"),
        OwnedTable("Channel"),
        OwnedTable(
            "Preference",
            condition=f"project_id = {THIS_PROJECT} AND user_id = {THIS_USER}",
            referenced=False,
        ),
        OwnedTable("Notification", {"event": "CASCADE", "channel": "SET NULL"}),
        OwnedTable("Attempt", {"notification": "CASCADE"}, referenced=False),
        OwnedTable("Trace", grants="SELECT, INSERT", referenced=False),
        OwnedTable("DirtyMinute", grants="SELECT, INSERT", referenced=False),
        OwnedTable("Rollup", grants="SELECT", referenced=False),
        OwnedTable("LateArrival", grants="SELECT", referenced=False),
        OwnedTable("AlertRule"),
        OwnedTable("RuleState", {"rule": "CASCADE"}, referenced=False),
        OwnedTable("Alert", {"rule": "CASCADE"}),
        OwnedTable("EvaluationPass", grants="SELECT", referenced=False),
        OwnedTable("RuleEvaluation", grants="SELECT, DELETE", referenced=False),
        OwnedTable("Anomaly", grants="SELECT", referenced=False),
        migrations.RunPython(make_days, migrations.RunPython.noop),
        migrations.RunPython(make_entry, drop_entry),
    ]

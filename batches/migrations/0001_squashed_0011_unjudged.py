import access.ids
import access.secrets
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.expressions
from django.conf import settings
from django.db import migrations, models

from access.isolation import OwnedKey, OwnedTable

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

    replaces = [
        ("batches", "0001_initial"),
        ("batches", "0002_isolation"),
        ("batches", "0003_limits"),
        ("batches", "0004_job_status"),
        ("batches", "0005_graders"),
        ("batches", "0006_experiments"),
        ("batches", "0007_clean_up_entry"),
        ("batches", "0008_requests"),
        ("batches", "0009_experiment_pages"),
        ("batches", "0010_rescored_from"),
        ("batches", "0011_unjudged"),
    ]

    initial = True

    dependencies = [
        ('django_celery_beat', '0019_alter_periodictasks_options'),
        ('access', '0001_squashed_0003_heartbeat'),
    ]

    operations = [
        migrations.CreateModel(
            name='Agent',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('name', models.CharField(max_length=200)),
                ('primary_instructions', models.TextField(blank=True)),
                ('parameters', models.JSONField(blank=True, default=dict)),
                ('assertions', models.JSONField(blank=True, default=list)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
                'indexes': [models.Index(fields=['project', '-created_at'], name='agent_newest')],
            },
        ),
        migrations.CreateModel(
            name='Batch',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('name', models.CharField(blank=True, max_length=200)),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('running', 'Running'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('stopped_budget', 'Stopped Budget'), ('stopped_circuit', 'Stopped Circuit')], default='pending', max_length=20)),
                ('suite_version', models.PositiveIntegerField(default=0)),
                ('suite_hash', models.CharField(blank=True, max_length=64)),
                ('request', access.secrets.SecretField(blank=True, db_default='', default='', editable=False)),
                ('suite_name', models.CharField(blank=True, max_length=200)),
                ('model_name', models.CharField(max_length=200)),
                ('agent_name', models.CharField(blank=True, max_length=200)),
                ('instructions', models.TextField(blank=True)),
                ('assertions', models.JSONField(blank=True, default=list)),
                ('description', models.TextField(blank=True)),
                ('tracking_id', models.CharField(blank=True, max_length=64)),
                ('is_ephemeral', models.BooleanField(default=False)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('waiting_documents', models.PositiveIntegerField(default=0)),
                ('concurrency', models.PositiveIntegerField(default=10)),
                ('repeats', models.PositiveIntegerField(default=1)),
                ('timeout_ms', models.PositiveIntegerField(default=60000)),
                ('delay_ms', models.PositiveIntegerField(default=0)),
                ('max_cost', models.DecimalField(blank=True, decimal_places=6, max_digits=18, null=True)),
                ('expected_call_cost', models.DecimalField(decimal_places=12, default=0, max_digits=18)),
                ('reserved_cost', models.DecimalField(decimal_places=12, default=0, max_digits=18)),
                ('parameters', models.JSONField(blank=True, default=dict)),
                ('graders', models.JSONField(blank=True, default=list)),
                ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), blank=True, default=list, size=None)),
                ('total', models.PositiveIntegerField(default=0)),
                ('running', models.PositiveIntegerField(default=0)),
                ('done', models.PositiveIntegerField(default=0)),
                ('passed', models.PositiveIntegerField(default=0)),
                ('failed', models.PositiveIntegerField(default=0)),
                ('errors', models.PositiveIntegerField(default=0)),
                ('unscored', models.PositiveIntegerField(default=0)),
                ('consecutive_infra', models.PositiveIntegerField(default=0)),
                ('consecutive_unjudged', models.PositiveIntegerField(db_default=0, default=0)),
                ('score_sum', models.FloatField(default=0)),
                ('weight_sum', models.FloatField(default=0)),
                ('latency_sum_ms', models.FloatField(default=0)),
                ('latency_count', models.PositiveIntegerField(default=0)),
                ('ttft_sum_ms', models.FloatField(default=0)),
                ('ttft_count', models.PositiveIntegerField(default=0)),
                ('input_tokens', models.BigIntegerField(default=0)),
                ('output_tokens', models.BigIntegerField(default=0)),
                ('total_cost', models.DecimalField(blank=True, decimal_places=12, max_digits=18, null=True)),
                ('judge_cost', models.DecimalField(blank=True, decimal_places=12, max_digits=18, null=True)),
                ('p95_latency_ms', models.FloatField(blank=True, null=True)),
                ('hinted_at', models.DateTimeField(blank=True, null=True)),
                ('deadline_at', models.DateTimeField(blank=True, null=True)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('completed_at', models.DateTimeField(blank=True, null=True)),
                ('error_class', models.CharField(blank=True, max_length=20)),
                ('error_message', models.TextField(blank=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('agent', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='batches.agent')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('rescored_from', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='batches.batch')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name_plural': 'batches',
                'ordering': ['-created_at'],
                'indexes': [models.Index(condition=models.Q(('request', '')), fields=['project', '-created_at'], name='batch_newest'), models.Index(condition=models.Q(('tracking_id', ''), _negated=True), fields=['project', 'tracking_id', 'created_at'], name='batch_of_experiment'), models.Index(condition=models.Q(('is_ephemeral', True)), fields=['expires_at'], name='batch_expiring'), models.Index(condition=models.Q(('status__in', ['pending', 'running'])), fields=['hinted_at'], name='batch_open')],
                'constraints': [models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'running', 'completed', 'failed', 'cancelled', 'stopped_budget', 'stopped_circuit'])), name='batch_status'), models.CheckConstraint(condition=models.Q(models.Q(('completed_at__isnull', False), ('status__in', frozenset(['cancelled', 'completed', 'failed', 'stopped_budget', 'stopped_circuit']))), models.Q(('completed_at__isnull', True), ('status__in', frozenset(['pending', 'running']))), _connector='OR'), name='batch_finished_iff_dated'), models.CheckConstraint(condition=models.Q(('done', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.F('passed'), '+', models.F('failed')), '+', models.F('errors')), '+', models.F('unscored')))), name='batch_outcomes_add_up'), models.CheckConstraint(condition=models.Q(('total__gte', django.db.models.expressions.CombinedExpression(models.F('done'), '+', models.F('running')))), name='batch_within_its_total'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'completed'), _negated=True), models.Q(('done', models.F('total')), ('running', 0)), _connector='OR'), name='batch_completed_means_all_done'), models.CheckConstraint(condition=models.Q(('is_ephemeral', False), models.Q(('expires_at__isnull', False), models.Q(('tracking_id', ''), _negated=True)), _connector='OR'), name='batch_ephemeral_is_tracked_and_expires'), models.CheckConstraint(condition=models.Q(('is_ephemeral', True), ('expires_at__isnull', True), _connector='OR'), name='batch_only_ephemeral_expires')],
            },
        ),
        migrations.AddField(
            model_name='agent',
            name='ephemeral_batch',
            field=models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='ephemeral_agents', to='batches.batch'),
        ),
        migrations.CreateModel(
            name='Experiment',
            fields=[
            ],
            options={
                'proxy': True,
            },
            bases=('batches.batch',),
        ),
        migrations.CreateModel(
            name='Document',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('title', models.CharField(max_length=300)),
                ('content', models.TextField(blank=True)),
                ('content_hash', models.CharField(blank=True, max_length=64)),
                ('source_url', models.CharField(blank=True, max_length=2000)),
                ('status', models.CharField(choices=[('ready', 'Ready'), ('waiting', 'Waiting'), ('fetching', 'Fetching'), ('failed', 'Failed')], default='ready', max_length=10)),
                ('claim_no', models.PositiveIntegerField(default=0)),
                ('lease_expires_at', models.DateTimeField(null=True)),
                ('hinted_at', models.DateTimeField(null=True)),
                ('fetched_at', models.DateTimeField(null=True)),
                ('error_message', models.TextField(blank=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('ephemeral_batch', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='ephemeral_documents', to='batches.batch')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at', '-id'],
                'indexes': [models.Index(fields=['project', '-created_at'], name='document_newest'), models.Index(condition=models.Q(('status__in', ['waiting', 'fetching'])), fields=['hinted_at'], name='document_open')],
                'constraints': [models.CheckConstraint(condition=models.Q(('status__in', ['ready', 'waiting', 'fetching', 'failed'])), name='document_status'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'ready'), _negated=True), models.Q(('content_hash', ''), _negated=True), _connector='OR'), name='document_ready_means_hashed'), models.CheckConstraint(condition=models.Q(('status', 'ready'), models.Q(('source_url', ''), _negated=True), _connector='OR'), name='document_without_address_is_ready'), models.CheckConstraint(condition=models.Q(models.Q(('lease_expires_at__isnull', False), ('status', 'fetching')), models.Q(models.Q(('status', 'fetching'), _negated=True), ('lease_expires_at__isnull', True)), _connector='OR'), name='document_fetching_iff_leased'), models.CheckConstraint(condition=models.Q(models.Q(('status', 'failed'), _negated=True), models.Q(('error_message', ''), _negated=True), _connector='OR'), name='document_failed_says_why')],
            },
        ),
        migrations.CreateModel(
            name='ModelEndpoint',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('name', models.CharField(max_length=200)),
                ('provider', models.CharField(choices=[('openai', 'OpenAI-compatible'), ('anthropic', 'Anthropic'), ('http', 'Any JSON over HTTP'), ('demo', 'Demonstration')], max_length=20)),
                ('base_url', models.CharField(blank=True, max_length=500)),
                ('model', models.CharField(max_length=200)),
                ('api_key', access.secrets.SecretField(blank=True, default='', editable=False)),
                ('headers', access.secrets.SecretField(blank=True, default='', editable=False)),
                ('parameters', models.JSONField(blank=True, default=dict)),
                ('request_template', models.JSONField(blank=True, null=True)),
                ('answer_path', models.CharField(blank=True, max_length=200)),
                ('requests_per_minute', models.PositiveIntegerField(blank=True, null=True)),
                ('tokens_per_minute', models.PositiveIntegerField(blank=True, null=True)),
                ('price_input', models.DecimalField(blank=True, decimal_places=6, max_digits=18, null=True)),
                ('price_cached_input', models.DecimalField(blank=True, decimal_places=6, max_digits=18, null=True)),
                ('price_output', models.DecimalField(blank=True, decimal_places=6, max_digits=18, null=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
                'constraints': [models.UniqueConstraint(fields=('project', 'name'), name='one_endpoint_of_a_name'), models.CheckConstraint(condition=models.Q(('provider__in', ['openai', 'anthropic', 'http', 'demo'])), name='known_provider'), models.CheckConstraint(condition=models.Q(models.Q(('price_input__isnull', True), ('price_input__gte', 0), _connector='OR'), models.Q(('price_cached_input__isnull', True), ('price_cached_input__gte', 0), _connector='OR'), models.Q(('price_output__isnull', True), ('price_output__gte', 0), _connector='OR')), name='prices_not_negative'), models.CheckConstraint(condition=models.Q(models.Q(('requests_per_minute__isnull', True), ('requests_per_minute__gte', 1), _connector='OR'), models.Q(('tokens_per_minute__isnull', True), ('tokens_per_minute__gte', 1), _connector='OR')), name='limits_at_least_one')],
            },
        ),
        migrations.AddField(
            model_name='batch',
            name='endpoint',
            field=models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='batches.modelendpoint'),
        ),
        migrations.AddField(
            model_name='agent',
            name='endpoint',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='agents', to='batches.modelendpoint'),
        ),
        migrations.CreateModel(
            name='TestCase',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('key', models.CharField(max_length=128)),
                ('position', models.PositiveIntegerField()),
                ('content_hash', models.CharField(max_length=64)),
                ('added_in', models.PositiveIntegerField()),
                ('removed_in', models.PositiveIntegerField(null=True)),
                ('prompt', models.TextField(blank=True, null=True)),
                ('messages', models.JSONField(blank=True, null=True)),
                ('variables', models.JSONField(blank=True, default=dict)),
                ('expected', models.JSONField(blank=True, null=True)),
                ('assertions', models.JSONField(blank=True, default=list)),
                ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), blank=True, default=list, size=None)),
                ('weight', models.FloatField(default=1)),
                ('threshold', models.FloatField(blank=True, null=True)),
                ('metadata', models.JSONField(blank=True, default=dict)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['position'],
                'constraints': [models.CheckConstraint(condition=models.Q(('removed_in__isnull', True), ('removed_in__gt', models.F('added_in')), _connector='OR'), name='case_removed_after_it_was_added'), models.CheckConstraint(condition=models.Q(('prompt__isnull', True), ('messages__isnull', True), _connector='XOR'), name='prompt_or_messages'), models.CheckConstraint(condition=models.Q(('weight__gt', 0)), name='case_weight_positive')],
            },
        ),
        migrations.CreateModel(
            name='Job',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('case_key', models.CharField(max_length=128)),
                ('case_hash', models.CharField(max_length=64)),
                ('ordinal', models.PositiveIntegerField()),
                ('repeat', models.PositiveIntegerField(default=1)),
                ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), blank=True, default=list, size=None)),
                ('weight', models.FloatField(default=1)),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('running', 'Running'), ('done', 'Done'), ('not_run', 'Not Run'), ('cancelled', 'Cancelled')], default='pending', max_length=10)),
                ('outcome', models.CharField(choices=[('passed', 'Passed'), ('failed', 'Failed'), ('error', 'Error'), ('unscored', 'Unscored')], max_length=10, null=True)),
                ('claim_no', models.PositiveIntegerField(default=0)),
                ('lease_expires_at', models.DateTimeField(null=True)),
                ('lost_workers', models.PositiveSmallIntegerField(default=0)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('output', models.TextField(blank=True)),
                ('score', models.FloatField(null=True)),
                ('assertions', models.JSONField(default=list)),
                ('latency_ms', models.FloatField(null=True)),
                ('ttft_ms', models.FloatField(null=True)),
                ('wall_ms', models.FloatField(null=True)),
                ('input_tokens', models.PositiveIntegerField(null=True)),
                ('cached_tokens', models.PositiveIntegerField(null=True)),
                ('output_tokens', models.PositiveIntegerField(null=True)),
                ('cost', models.DecimalField(decimal_places=12, max_digits=18, null=True)),
                ('prices', models.JSONField(null=True)),
                ('cost_unknown_because', models.CharField(blank=True, max_length=200)),
                ('judge_cost', models.DecimalField(decimal_places=12, max_digits=18, null=True)),
                ('reserved_cost', models.DecimalField(decimal_places=12, default=0, max_digits=18)),
                ('error_class', models.CharField(blank=True, max_length=20)),
                ('error_message', models.TextField(blank=True)),
                ('started_at', models.DateTimeField(null=True)),
                ('finished_at', models.DateTimeField(null=True)),
                ('batch', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='jobs', to='batches.batch')),
                ('document', models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='batches.document')),
                ('project', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('case', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='batches.testcase')),
            ],
            options={
                'ordering': ['ordinal', 'repeat'],
                'indexes': [models.Index(condition=models.Q(('status', 'pending')), fields=['batch', 'ordinal', 'repeat'], name='job_pending'), models.Index(condition=models.Q(('status', 'running')), fields=['lease_expires_at'], name='job_leased'), models.Index(condition=models.Q(('document__isnull', False)), fields=['document'], name='job_of_document')],
                'constraints': [models.UniqueConstraint(fields=('batch', 'ordinal', 'repeat'), name='one_job_per_call'), models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'running', 'done', 'not_run', 'cancelled'])), name='job_status'), models.CheckConstraint(condition=models.Q(models.Q(('outcome__in', ['passed', 'failed', 'error', 'unscored']), ('outcome__isnull', False), ('status', 'done')), models.Q(models.Q(('status', 'done'), _negated=True), ('outcome__isnull', True)), _connector='OR'), name='job_done_iff_outcome'), models.CheckConstraint(condition=models.Q(models.Q(('lease_expires_at__isnull', False), ('status', 'running')), models.Q(models.Q(('status', 'running'), _negated=True), ('lease_expires_at__isnull', True)), _connector='OR'), name='job_running_iff_leased'), models.CheckConstraint(condition=models.Q(models.Q(('finished_at__isnull', False), ('status', 'done')), models.Q(models.Q(('status', 'done'), _negated=True), ('finished_at__isnull', True)), _connector='OR'), name='job_done_iff_dated'), models.CheckConstraint(condition=models.Q(('score__isnull', True), models.Q(('score__gte', 0), ('score__lte', 1)), _connector='OR'), name='job_score')],
            },
        ),
        migrations.CreateModel(
            name='TestSuite',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('name', models.CharField(max_length=200)),
                ('description', models.TextField(blank=True)),
                ('version', models.PositiveIntegerField(default=0)),
                ('content_hash', models.CharField(blank=True, max_length=64)),
                ('case_count', models.PositiveIntegerField(default=0)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
                'constraints': [models.UniqueConstraint(fields=('project', 'name'), name='one_suite_of_a_name')],
            },
        ),
        migrations.AddField(
            model_name='testcase',
            name='suite',
            field=models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='cases', to='batches.testsuite'),
        ),
        migrations.AddField(
            model_name='batch',
            name='suite',
            field=models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='batches.testsuite'),
        ),
        migrations.CreateModel(
            name='Tombstone',
            fields=[
                ('id', models.UUIDField(default=access.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('batch_id', models.UUIDField(unique=True)),
                ('name', models.CharField(blank=True, max_length=200)),
                ('tracking_id', models.CharField(max_length=64)),
                ('suite_name', models.CharField(blank=True, max_length=200)),
                ('suite_hash', models.CharField(blank=True, max_length=64)),
                ('model_name', models.CharField(max_length=200)),
                ('agent_name', models.CharField(blank=True, max_length=200)),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('running', 'Running'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('stopped_budget', 'Stopped Budget'), ('stopped_circuit', 'Stopped Circuit')], max_length=20)),
                ('total', models.PositiveIntegerField()),
                ('passed', models.PositiveIntegerField()),
                ('failed', models.PositiveIntegerField()),
                ('errors', models.PositiveIntegerField()),
                ('unscored', models.PositiveIntegerField()),
                ('documents', models.PositiveIntegerField()),
                ('content_hash', models.CharField(max_length=64)),
                ('avg_score', models.FloatField(null=True)),
                ('total_cost', models.DecimalField(decimal_places=12, max_digits=18, null=True)),
                ('began_at', models.DateTimeField()),
                ('ended_at', models.DateTimeField()),
                ('expired_at', models.DateTimeField(null=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
                'indexes': [models.Index(fields=['project', 'tracking_id'], name='tombstone_of_experiment')],
            },
        ),
        migrations.AddConstraint(
            model_name='agent',
            constraint=models.UniqueConstraint(condition=models.Q(('ephemeral_batch__isnull', True)), fields=('project', 'name'), name='one_agent_of_a_name'),
        ),
        migrations.AddIndex(
            model_name='testcase',
            index=models.Index(fields=['suite', 'position'], name='case_in_order'),
        ),
        migrations.AddConstraint(
            model_name='testcase',
            constraint=models.UniqueConstraint(condition=models.Q(('removed_in__isnull', True)), fields=('suite', 'key'), name='one_current_case_of_a_key'),
        ),
        migrations.AddConstraint(
            model_name='batch',
            constraint=models.CheckConstraint(condition=models.Q(('request', ''), models.Q(('agent__isnull', True), ('parameters', {}), ('suite__isnull', True), ('suite_name', ''), ('total', 1), ('tracking_id', '')), _connector='OR'), name='batch_of_a_request_asks_nothing_else'),
        ),
        OwnedTable("ModelEndpoint"),
        OwnedTable("TestSuite"),
        OwnedTable("TestCase", {"suite": "CASCADE"}),
        OwnedTable(
            "Batch", {"suite": "SET NULL", "endpoint": "SET NULL", "rescored_from": "SET NULL"}
        ),
        OwnedTable("Document", {"ephemeral_batch": "CASCADE"}),
        OwnedTable("Agent", {"endpoint": "RESTRICT", "ephemeral_batch": "CASCADE"}),
        # A batch points at its agent, and the agent at the batch that it goes with.
        OwnedKey("Batch", "agent", "SET NULL"),
        # Rows by the million that nothing points at: no further index.
        OwnedTable(
            "Job",
            {"batch": "CASCADE", "case": "SET NULL", "document": "SET NULL"},
            referenced=False,
        ),
        OwnedTable("Tombstone", grants="SELECT, INSERT", referenced=False),
        migrations.RunPython(make_entry, drop_entry),
    ]

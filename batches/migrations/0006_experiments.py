import access.ids
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from access.isolation import OwnedKey, OwnedTable


class Migration(migrations.Migration):

    dependencies = [
        ('access', '0003_heartbeat'),
        ("batches", "0005_graders"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
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
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
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
            ],
            options={
                'ordering': ['-created_at'],
            },
        ),
        migrations.AddField(
            model_name='batch',
            name='agent_name',
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name='batch',
            name='assertions',
            field=models.JSONField(blank=True, default=list),
        ),
        migrations.AddField(
            model_name='batch',
            name='description',
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name='batch',
            name='expires_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='batch',
            name='instructions',
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name='batch',
            name='is_ephemeral',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='batch',
            name='tracking_id',
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AddField(
            model_name='batch',
            name='waiting_documents',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name='batch',
            name='suite_hash',
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AlterField(
            model_name='batch',
            name='suite_name',
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AlterField(
            model_name='batch',
            name='suite_version',
            field=models.PositiveIntegerField(default=0),
        ),
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
                ('endpoint', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='agents', to='batches.modelendpoint')),
                ('ephemeral_batch', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='ephemeral_agents', to='batches.batch')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
            },
        ),
        migrations.AddField(
            model_name='batch',
            name='agent',
            field=models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='batches.agent'),
        ),
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(condition=models.Q(('tracking_id', ''), _negated=True), fields=['project', 'tracking_id', 'created_at'], name='batch_of_experiment'),
        ),
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(condition=models.Q(('is_ephemeral', True)), fields=['expires_at'], name='batch_expiring'),
        ),
        migrations.AddConstraint(
            model_name='batch',
            constraint=models.CheckConstraint(condition=models.Q(('is_ephemeral', False), models.Q(('expires_at__isnull', False), models.Q(('tracking_id', ''), _negated=True)), _connector='OR'), name='batch_ephemeral_is_tracked_and_expires'),
        ),
        migrations.AddConstraint(
            model_name='batch',
            constraint=models.CheckConstraint(condition=models.Q(('is_ephemeral', True), ('expires_at__isnull', True), _connector='OR'), name='batch_only_ephemeral_expires'),
        ),
        migrations.AddField(
            model_name='document',
            name='ephemeral_batch',
            field=models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='ephemeral_documents', to='batches.batch'),
        ),
        migrations.AddField(
            model_name='document',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project'),
        ),
        migrations.AddField(
            model_name='document',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='job',
            name='document',
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='batches.document'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('document__isnull', False)), fields=['document'], name='job_of_document'),
        ),
        migrations.AddField(
            model_name='tombstone',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='access.project'),
        ),
        migrations.AddField(
            model_name='tombstone',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddIndex(
            model_name='agent',
            index=models.Index(fields=['project', '-created_at'], name='agent_newest'),
        ),
        migrations.AddConstraint(
            model_name='agent',
            constraint=models.UniqueConstraint(condition=models.Q(('ephemeral_batch__isnull', True)), fields=('project', 'name'), name='one_agent_of_a_name'),
        ),
        migrations.AddIndex(
            model_name='document',
            index=models.Index(fields=['project', '-created_at'], name='document_newest'),
        ),
        migrations.AddIndex(
            model_name='document',
            index=models.Index(condition=models.Q(('status__in', ['waiting', 'fetching'])), fields=['hinted_at'], name='document_open'),
        ),
        migrations.AddConstraint(
            model_name='document',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['ready', 'waiting', 'fetching', 'failed'])), name='document_status'),
        ),
        migrations.AddConstraint(
            model_name='document',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status', 'ready'), _negated=True), models.Q(('content_hash', ''), _negated=True), _connector='OR'), name='document_ready_means_hashed'),
        ),
        migrations.AddConstraint(
            model_name='document',
            constraint=models.CheckConstraint(condition=models.Q(('status', 'ready'), models.Q(('source_url', ''), _negated=True), _connector='OR'), name='document_without_address_is_ready'),
        ),
        migrations.AddConstraint(
            model_name='document',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('lease_expires_at__isnull', False), ('status', 'fetching')), models.Q(models.Q(('status', 'fetching'), _negated=True), ('lease_expires_at__isnull', True)), _connector='OR'), name='document_fetching_iff_leased'),
        ),
        migrations.AddConstraint(
            model_name='document',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status', 'failed'), _negated=True), models.Q(('error_message', ''), _negated=True), _connector='OR'), name='document_failed_says_why'),
        ),
        migrations.AddIndex(
            model_name='tombstone',
            index=models.Index(fields=['project', 'tracking_id'], name='tombstone_of_experiment'),
        ),
        OwnedTable("Document", {"ephemeral_batch": "CASCADE"}),
        OwnedTable("Agent", {"endpoint": "RESTRICT", "ephemeral_batch": "CASCADE"}),
        OwnedTable("Tombstone", grants="SELECT, INSERT", referenced=False),
        OwnedKey("Batch", "agent", "SET NULL"),
        OwnedKey("Job", "document", "SET NULL"),
    ]

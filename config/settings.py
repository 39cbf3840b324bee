"""Every setting, read from the environment in this one place.

Importing it needs no server and no secret; what is missing or wrong is said by the system checks
(`config/checks.py`) and refused when a process of the service starts.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ

from config import embedded, generated

# The pinned tzdata package is what counts, not the files of the operating system.
os.environ["PYTHONTZPATH"] = ""

env = environ.Env()
# A variable that is set to nothing counts as unset, as in a .env file with `EMAIL_URL=`.
env.ENVIRON = {name: value for name, value in os.environ.items() if value}
BASE_DIR = Path(__file__).resolve().parent.parent
EVALSCHED_DATA_DIR = Path(env.str("EVALSCHED_DATA_DIR", "") or BASE_DIR / ".evalsched").absolute()
_generated = generated.load(EVALSCHED_DATA_DIR)
_embedded = embedded.addresses(EVALSCHED_DATA_DIR)

# --- Security -----------------------------------------------------------------------------------
SECRET_KEY = env.str("SECRET_KEY", "") or _generated.get("SECRET_KEY", "")
FIELD_ENCRYPTION_KEYS: list[str] = env.list("FIELD_ENCRYPTION_KEYS", default=[]) or (
    _generated["FIELD_ENCRYPTION_KEYS"].split(",") if "FIELD_ENCRYPTION_KEYS" in _generated else []
)
SERVICE_ROLE_KEY = env.str("SERVICE_ROLE_KEY", "")
DEBUG = env.bool("DEBUG", False)
HOST = env.str("HOST", "127.0.0.1")
PORT = env.int("PORT", 8000)
# Read and put together again: the scheme becomes lower case, as in browsers.
PUBLIC_URL = urlsplit(env.str("PUBLIC_URL", "") or f"http://{HOST}:{PORT}").geturl().rstrip("/")
ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS",
    default=["localhost", "127.0.0.1", "[::1]", HOST, urlsplit(PUBLIC_URL).hostname or HOST],
)
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[PUBLIC_URL])
TRUSTED_PROXY = env.bool("TRUSTED_PROXY", False)
if TRUSTED_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    USE_X_FORWARDED_HOST = True
_https = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _https
# Whoever probes does so beside the proxy that speaks https.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$", r"^api/cron/"]
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _https
SESSION_COOKIE_HTTPONLY = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_ENGINE = "access.sessions"
X_FRAME_OPTIONS = "DENY"
EVALSCHED_PRIVATE_HOSTS = env.list("EVALSCHED_PRIVATE_HOSTS", default=[])
# The largest body a request may have; imports have a limit of their own.
EVALSCHED_MAX_BODY_BYTES = env.int("EVALSCHED_MAX_BODY_BYTES", 2 * 1024 * 1024)
EVALSCHED_MAX_BODY_IMPORT_BYTES = env.int("EVALSCHED_MAX_BODY_IMPORT_BYTES", 50 * 1024 * 1024)
# Before and after decompression. Source: OTLP's recommendation.
EVALSCHED_MAX_BODY_TRACES_BYTES = env.int("EVALSCHED_MAX_BODY_TRACES_BYTES", 64 * 1024 * 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = EVALSCHED_MAX_BODY_IMPORT_BYTES
EVALSCHED_RATE_LIMIT_READS = env.int("EVALSCHED_RATE_LIMIT_READS", 600)
EVALSCHED_RATE_LIMIT_WRITES = env.int("EVALSCHED_RATE_LIMIT_WRITES", 120)
EVALSCHED_RATE_LIMIT_INGEST = env.int("EVALSCHED_RATE_LIMIT_INGEST", 6000)
EVALSCHED_RATE_LIMIT_REFUSED = env.int("EVALSCHED_RATE_LIMIT_REFUSED", 600)
EVALSCHED_RATE_LIMIT_LOGINS = env.int("EVALSCHED_RATE_LIMIT_LOGINS", 10)

# web | worker | beat | migrate: whose limits apply, and what has to be loaded
EVALSCHED_PROCESS = env.str("EVALSCHED_PROCESS", "web")

# --- Application --------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    # Only who serves its pages loads all that they are made of.
    "django.contrib.admin"
    if EVALSCHED_PROCESS == "web"
    else "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_structlog",
    "config",
    "evalsched",
    "batches",
    "alerts",
    "access",
]
MIDDLEWARE = [
    "config.middleware.request_id",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "config.middleware.optional_slash",
    "config.middleware.unavailable",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "config" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_USER_MODEL = "access.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
# Where collectstatic put the files; without it (`make up`) they are served from the packages.
STATIC_ROOT = env.str("STATIC_ROOT", "") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = False

# --- PostgreSQL ---------------------------------------------------------------------------------
DATABASES: dict[str, Any] = {"default": env.db("DATABASE_URL", _embedded.database_url)}
_patience = {"worker": 60_000, "migrate": 0}.get(EVALSCHED_PROCESS, 10_000)
DATABASES["default"] |= {
    # A child of the pool keeps its connection over tasks; a broken one is found before its use.
    "CONN_MAX_AGE": 60,
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": DATABASES["default"].get("OPTIONS", {})
    | {
        "connect_timeout": 5,
        "application_name": f"evalsched-{EVALSCHED_PROCESS}",
        "options": " ".join(
            [
                f"-c statement_timeout={_patience}",
                "-c idle_in_transaction_session_timeout=60000",
                # What migrates waits for whoever uses the table; 0 is no limit.
                f"-c lock_timeout={0 if EVALSCHED_PROCESS == 'migrate' else 5000}",
            ]
        ),
    },
}

# --- Redis --------------------------------------------------------------------------------------
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", "") or _embedded.broker_url
REDIS_URL = env.str("REDIS_URL", "") or (
    _embedded.redis_url
    if _embedded.broker_url == CELERY_BROKER_URL
    else CELERY_BROKER_URL
    if CELERY_BROKER_URL.startswith(("redis://", "rediss://"))
    else ""
)

# Celery's own settings stand in config/celery.py, each with its reason.

# --- Mail ---------------------------------------------------------------------------------------
_mail = env.email_url("EMAIL_URL", "consolemail://")
EMAIL_BACKEND = _mail["EMAIL_BACKEND"]
EMAIL_HOST = _mail.get("EMAIL_HOST") or "localhost"
EMAIL_PORT = _mail.get("EMAIL_PORT") or 25
EMAIL_HOST_USER = _mail.get("EMAIL_HOST_USER") or ""
EMAIL_HOST_PASSWORD = _mail.get("EMAIL_HOST_PASSWORD") or ""
EMAIL_USE_TLS = bool(_mail.get("EMAIL_USE_TLS"))
EMAIL_USE_SSL = bool(_mail.get("EMAIL_USE_SSL"))
EMAIL_FILE_PATH = _mail.get("EMAIL_FILE_PATH") or None
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "evalsched@localhost")

# --- evalsched ----------------------------------------------------------------------------------
EVALSCHED_ADMIN_USERNAME = env.str("EVALSCHED_ADMIN_USERNAME", "admin")
EVALSCHED_ADMIN_PASSWORD = env.str("EVALSCHED_ADMIN_PASSWORD", "")
EVALSCHED_ADMIN_EMAIL = env.str("EVALSCHED_ADMIN_EMAIL", "admin@localhost")
EVALSCHED_DEMO = env.bool("EVALSCHED_DEMO", False)
DEMO_BASE_URL = f"{PUBLIC_URL}/demo/v1"
EVALSCHED_TICK_SECONDS = env.int("EVALSCHED_TICK_SECONDS", 10)
EVALSCHED_LEASE_SECONDS = env.int("EVALSCHED_LEASE_SECONDS", 25)
EVALSCHED_SLICE_SECONDS = env.int("EVALSCHED_SLICE_SECONDS", 45)
EVALSCHED_SOFT_SHUTDOWN_SECONDS = env.int("EVALSCHED_SOFT_SHUTDOWN_SECONDS", 30)
EVALSCHED_MAX_CONCURRENT_RUNS = env.int("EVALSCHED_MAX_CONCURRENT_RUNS", 3)
EVALSCHED_MAX_CONCURRENT_MODEL_RUNS = env.int("EVALSCHED_MAX_CONCURRENT_MODEL_RUNS", 10)
EVALSCHED_RUN_TIMEOUT_SECONDS = env.int("EVALSCHED_RUN_TIMEOUT_SECONDS", 600)
EVALSCHED_CLEANUP_MINUTES = env.int("EVALSCHED_CLEANUP_MINUTES", 5)
EVALSCHED_EXPERIMENT_DEFAULT_DAYS = env.int("EVALSCHED_EXPERIMENT_DEFAULT_DAYS", 7)
EVALSCHED_EXPERIMENT_MAX_DOCUMENTS = env.int("EVALSCHED_EXPERIMENT_MAX_DOCUMENTS", 1000)
EVALSCHED_EXPERIMENT_MAX_PER_USER = env.int("EVALSCHED_EXPERIMENT_MAX_PER_USER", 100)
EVALSCHED_RESULT_RETENTION_DAYS = env.int("EVALSCHED_RESULT_RETENTION_DAYS", 180)
EVALSCHED_EVALUATION_RETENTION_DAYS = env.int("EVALSCHED_EVALUATION_RETENTION_DAYS", 30)
EVALSCHED_MAX_CONSECUTIVE_FAILURES = env.int("EVALSCHED_MAX_CONSECUTIVE_FAILURES", 3)
EVALSCHED_TRACE_RETENTION_DAYS = env.int("EVALSCHED_TRACE_RETENTION_DAYS", 30)
EVALSCHED_TRACE_CONTENT = env.str("EVALSCHED_TRACE_CONTENT", "truncated")
EVALSCHED_ALERT_DELAY_SECONDS = env.int("EVALSCHED_ALERT_DELAY_SECONDS", 8)
EVALSCHED_MIN_COVERAGE_PERCENT = env.int("EVALSCHED_MIN_COVERAGE_PERCENT", 80)
EVALSCHED_LOG_FORMAT = env.str("EVALSCHED_LOG_FORMAT", "json")
EVALSCHED_LOG_LEVEL = env.str("EVALSCHED_LOG_LEVEL", "INFO")
EVALSCHED_METRICS_TOKEN = env.str("EVALSCHED_METRICS_TOKEN", "")

# --- API ----------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["access.api.parsing.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "access.api.pagination.Pagination",
    "DEFAULT_FILTER_BACKENDS": [
        "access.api.filters.Filters",
        "access.api.pagination.Ordering",
    ],
    "DEFAULT_SCHEMA_CLASS": "access.api.schema.Schema",
    "EXCEPTION_HANDLER": "access.api.failures.answer",
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": True,
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "evalsched",
    "DESCRIPTION": "Scheduled evaluations of language-model applications.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "access.api.schema.finish",
    ],
    "ENUM_NAME_OVERRIDES": {
        "AttemptOutcomeEnum": "alerts.models.AttemptOutcome",
        "ChannelKindEnum": "alerts.models.ChannelKind",
        "NotificationStatusEnum": "alerts.models.NotificationStatus",
        "BatchStatusEnum": "batches.models.BatchStatus",
        "DocumentStatusEnum": "batches.models.DocumentStatus",
        "ExperimentStatusEnum": "batches.experiments.STATUSES",
        "JobOutcomeEnum": "batches.models.JobOutcome",
        "JobStatusEnum": "batches.models.JobStatus",
        "RunStatusEnum": "evalsched.models.RunStatus",
        "MemberRoleEnum": "access.models.Role",
        "AlertStatusEnum": "alerts.rule_models.AlertStatus",
        "EvaluationStatusEnum": "alerts.rule_models.EvaluationPass.Status",
        "HealthEnum": "alerts.rule_models.Health",
        "RuleStateEnum": "alerts.rule_models.RuleStatus",
        "TraceStatusEnum": "alerts.trace_models.TraceStatus",
        "MessageRoleEnum": ["system", "user", "assistant"],
    },
    # Where a choice may be null the schema has to say so.
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": True,
}
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "evalsched",
    "SITE_HEADER": "evalsched",
    "SITE_SYMBOL": "monitoring",
    "SHOW_VIEW_ON_SITE": False,
    "LOGIN": {"form": "access.logins.LoginForm"},
    "DASHBOARD_CALLBACK": "config.dashboard.home",
    "SIDEBAR": {"show_search": False, "navigation": "config.navigation.groups"},
}

# --- Logs ---------------------------------------------------------------------------------------
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
# It would ask the database who it was outside of everything that answers 503 when that is away;
# the API's views bind the user themselves.
DJANGO_STRUCTLOG_USER_ID_FIELD = None
# What went well is for those who look closely: DEBUG.
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = 10
DJANGO_STRUCTLOG_STATUS_2XX_LOG_LEVEL = 10
DJANGO_STRUCTLOG_STATUS_DEFAULT_LOG_LEVEL = 10
DJANGO_STRUCTLOG_CELERY_TASK_START_LOG_LEVEL = 10
DJANGO_STRUCTLOG_CELERY_TASK_SUCCESS_LOG_LEVEL = 10
# A tick that expired before somebody took it up is followed by the next one.
DJANGO_STRUCTLOG_CELERY_TASK_RETRY_LOG_LEVEL = 10
# What a client got wrong it has been told.
DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = 20
LOGGING_CONFIG = "config.logs.configure"
LOGGING = {"format": EVALSCHED_LOG_FORMAT, "level": EVALSCHED_LOG_LEVEL}
SILENCED_SYSTEM_CHECKS: list[str] = []

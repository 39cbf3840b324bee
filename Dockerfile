# One image for every process: web (the default command), worker, ticker, courier, beat and `migrate`.
# It holds no secret and no address; those come in when it runs (docs/settings.md).

FROM python:3.13-slim AS packages
COPY requirements.lock /tmp/requirements.lock
RUN python -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes -r /tmp/requirements.lock

FROM python:3.13-slim
# By number, so that a cluster can see that it is not root.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin evalsched
COPY --from=packages /venv /venv
WORKDIR /app
COPY manage.py ./
COPY access access
COPY alerts alerts
COPY batches batches
COPY config config
COPY evalsched evalsched
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATIC_ROOT=/app/static \
    WEB_CONCURRENCY=2
# Needs no secret, no database and no network.
RUN python manage.py collectstatic --noinput --verbosity 0
USER 10001
EXPOSE 8000

# The web process's; the others run no server and override it (docker-compose.yml). The name of
# the host has to be one that ALLOWED_HOSTS lets in.
HEALTHCHECK --interval=15s --timeout=6s --start-period=30s CMD ["python", "-c", "\
import os, urllib.parse, urllib.request as http; \
host = urllib.parse.urlsplit(os.environ.get('PUBLIC_URL', '')).netloc or 'localhost'; \
http.urlopen(http.Request('http://127.0.0.1:8000/healthz', headers={'Host': host}), timeout=5)"]

# As many processes as WEB_CONCURRENCY says. Their heartbeat files belong into memory: on a slow
# disk a worker that is well would look dead.
CMD ["python", "-m", "gunicorn", "config.wsgi:application", "--no-control-socket", \
    "--bind", "0.0.0.0:8000", "--worker-class", "gthread", "--threads", "16", \
    "--worker-tmp-dir", "/dev/shm", "--timeout", "60", "--graceful-timeout", "30", \
    "--log-level", "warning"]

"""The web process: `gunicorn config.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"

application = get_wsgi_application()

from config.checks import print_configuration  # noqa: E402  needs Django to be set up

print_configuration()

"""The web process: `gunicorn config.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"

application = get_wsgi_application()

from config.checks import print_configuration, refuse_unsafe_start  # noqa: E402  after the setup

refuse_unsafe_start()
print_configuration()

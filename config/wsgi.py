"""The web process: `gunicorn config.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"

application = get_wsgi_application()

from config.checks import print_configuration, refuse_unsafe_start  # noqa: E402  after the setup

try:
    refuse_unsafe_start()
except SystemExit as refusal:
    # After an exit gunicorn starts its worker again, for ever; after an error it gives up.
    raise RuntimeError(refusal.code) from None
print_configuration()

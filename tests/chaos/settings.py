"""Settings of the site that is put through chaos; the CHAOS_* variables come from ``site.py``."""

import os

from tests.settings import *  # noqa: F403

DEBUG = False
ROOT_URLCONF = "tests.urls"
ASGI_APPLICATION = "tests.chaos.asgi.application"
_port, _user, _name = os.environ["CHAOS_POSTGRES"].split()
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": _port,
        "NAME": _name,
        "USER": _user,
        # The name of the process stands beside every row that it writes (site.WITNESS).
        "OPTIONS": {"application_name": os.environ["CHAOS_NAME"], "connect_timeout": 5},
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [os.environ["CHAOS_REDIS_URL"]]},
    }
}
_pbx = os.environ["CHAOS_PBX"]  # host:port
CTI_DJANGO = {
    "REGION": "GB",
    "LEASE_SECONDS": float(os.environ["CHAOS_LEASE_SECONDS"]),  # short, so that a short run sees many takeovers
    "CONNECTOR_OPTIONS": {
        "voipstudio": {"api_url": f"http://{_pbx}/v1.2/voipstudio", "sip_url": f"ws://{_pbx}/"},
    },
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"level": "INFO", "handlers": ["console"]},
}

"""Settings of the site under measurement; BENCH_DIR, BENCH_DATABASE, SANDBOX_URL and REDIS_URL come from the runner."""

import json
import os

from tests.settings import *  # noqa: F403

DEBUG = False
ROOT_URLCONF = "tests.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(os.environ.get("BENCH_DIR", "."), "bench.sqlite3"),
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;", "timeout": 20},
    }
}
if os.environ.get("BENCH_DATABASE"):
    DATABASES = {"default": json.loads(os.environ["BENCH_DATABASE"])}
    # Else Django opens a connection for every event: that is no bare query any more.
    DATABASES["default"]["CONN_MAX_AGE"] = None
if os.environ.get("REDIS_URL"):
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
        }
    }
_sandbox = os.environ.get("SANDBOX_URL", "http://127.0.0.1:9000")
CTI_DJANGO = {
    "REGION": "GB",
    "CONNECTOR_OPTIONS": {
        "voipstudio": {
            "api_url": f"{_sandbox}/v1.2/voipstudio",
            "sip_url": _sandbox.replace("http", "ws", 1) + "/",
        }
    },
}
LOGGING = {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING", "handlers": []}}

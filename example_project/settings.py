"""Settings of the example CRM. Everything that cti_django needs is marked with "CTI"; the rest is plain Django.

The demo runs on SQLite and in one process. Environment variables choose otherwise:

    DATABASE_URL    postgresql://user:password@host:5432/name (needs psycopg), or sqlite:///path/to/file
    REDIS_URL       redis://host:6379/0 : the channel layer for several processes (needs cti-django[redis])
    SECRET_KEY, SALT_KEY, DEBUG=0, ALLOWED_HOSTS=crm.example.com      for anything but a demo
    SANDBOX_PORT    where the sandbox telephone system listens (9000)
    ASTERISK_URL    ami://cti:secret@pbx.example.com:5038 (amis: TLS): your own Asterisk instead of the sandbox, set up
                    as docs/connectors/asterisk.md says; Alice is its extension 1001, Bob 1002, Carol 1003
"""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("SECRET_KEY", "demo-only-not-a-secret" if DEBUG else "")
# CTI: together with SECRET_KEY it encrypts the agents' telephone passwords in the database.
SALT_KEY = os.environ.get("SALT_KEY", "demo-only-not-a-secret" if DEBUG else "")
ALLOWED_HOSTS = [host for host in os.environ.get("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]").split(",") if host]

INSTALLED_APPS = [
    "daphne",  # CTI: gives runserver WebSockets; it must stand before staticfiles
    "cti_django",  # CTI: before the admin, so that its bar can be shown on the admin's pages too
    "example_project.crm",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "example_project.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "example_project.urls"
ASGI_APPLICATION = "example_project.asgi.application"  # CTI: calls reach the browser over a WebSocket

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]


def _database(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": parts.path.removeprefix("/"),
            # Calls are written while pages are read; with WAL neither waits for the other.
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL;"},
        }
    if parts.scheme in ("postgres", "postgresql"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path.removeprefix("/"),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": parts.port or "",
        }
    raise ImproperlyConfigured("DATABASE_URL must begin with sqlite:/// or postgresql://")


DATABASES = {"default": _database(os.environ.get("DATABASE_URL", f"sqlite:///{BASE_DIR / 'demo.sqlite3'}"))}

# CTI: calls travel from the session to the agent's tabs through the channel layer. In memory serves one process.
if REDIS_URL := os.environ.get("REDIS_URL"):
    CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# CTI: the one settings dictionary. The two URLs make the VoIPstudio connector talk to the sandbox instead of the
# service; take them out (and let each agent store her own account) to work with VoIPstudio itself.
SANDBOX_PORT = int(os.environ.get("SANDBOX_PORT", "9000"))
CTI_DJANGO: dict[str, object] = {
    "REGION": "GB",
    "CONNECTOR_OPTIONS": {
        "voipstudio": {
            "api_url": f"http://127.0.0.1:{SANDBOX_PORT}/v1.2/voipstudio",
            "sip_url": f"ws://127.0.0.1:{SANDBOX_PORT}/",
        }
    },
}


def _asterisk(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    if parts.scheme not in ("ami", "amis") or not parts.hostname:
        raise ImproperlyConfigured("ASTERISK_URL must begin with ami:// or amis://")
    return {
        "host": parts.hostname,
        "port": parts.port or {"ami": 5038, "amis": 5039}[parts.scheme],
        "tls": parts.scheme == "amis",
        "username": unquote(parts.username or ""),
        "secret": unquote(parts.password or ""),
        "dial_context": "from-agents",
        "hold_context": "cti-hold",
        "hint_context": "hints",
        "answer": "redirect",
        "answer_context": "auto-answer",
        "auto_answer": True,
        "directory": {"1001": "Alice Agent", "1002": "Bob Agent", "1003": "Carol Agent"},
    }


# CTI: another telephone system is another connector, and its own options.
if ASTERISK_URL := os.environ.get("ASTERISK_URL"):
    CTI_DJANGO |= {"CONNECTOR": "asterisk", "CONNECTOR_OPTIONS": {"asterisk": _asterisk(ASTERISK_URL)}}

AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "dashboard"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "Europe/London"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "example_project" / "static"]

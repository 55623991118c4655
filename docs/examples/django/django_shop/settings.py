"""The settings of the shop; its database is the one of DATABASE_URL, which taskflow reads too."""

import os

from psycopg.conninfo import conninfo_to_dict


def database(dsn: str) -> dict:
    """Django's settings for a connection string."""
    given = conninfo_to_dict(dsn)
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    settings = {setting: str(given.pop(name)) for name, setting in names.items() if name in given}
    return {"ENGINE": "django.db.backends.postgresql", "OPTIONS": given, **settings}


DATABASES = {"default": database(os.environ.get("DATABASE_URL", "postgresql:///shop"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_shop"]
ROOT_URLCONF = "django_shop.urls"
ALLOWED_HOSTS = ["*"]
SECRET_KEY = os.environ.get("SECRET_KEY", "for tests only")
USE_TZ = True

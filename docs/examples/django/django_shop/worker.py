"""What a worker imports, since models need Django to be set up first: taskflow worker --import django_shop.worker"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_shop.settings")
django.setup()

from django_shop import tasks  # noqa: E402, F401

from django.db import close_old_connections

from django_shop.models import Order
from taskflow import task


@task("confirm_django_order", queue="mail", max_attempts=5)
def confirm_order(payload: dict) -> None:
    close_old_connections()  # a worker's threads live long: one may have been closed by the server
    Order.objects.filter(pk=payload["order_id"]).update(confirmed=True)

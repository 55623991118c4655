"""One view: an order and the task that confirms it are one transaction."""

import json

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from django_shop.models import Order
from django_shop.tasks import confirm_order


class SoldOut(Exception):
    pass


@csrf_exempt
def create_order(request: HttpRequest) -> HttpResponse:
    article = json.loads(request.body)["article"]
    try:
        with transaction.atomic():
            order = Order.objects.create(article=article)
            confirm_order.enqueue({"order_id": order.pk}, connection=connection)
            if article == "unicorn":
                raise SoldOut  # leaves the block: neither order nor task
    except SoldOut:
        return HttpResponse("sold out", status=409)
    return JsonResponse({"id": order.pk}, status=201)


urlpatterns = [path("orders", create_order)]

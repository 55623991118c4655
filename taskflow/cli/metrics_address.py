"""`host:port` as the value of a flag."""

from __future__ import annotations

from typing import Any

import click

from taskflow.settings.aliases import address


class Address(click.ParamType[tuple[str, int]]):
    """An address to listen on; `:9100` is every one of the machine."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        try:
            host, port = address(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return host, int(port)

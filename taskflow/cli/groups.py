"""Commands with subcommands that say which one was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import click


class Group(click.Group):
    """A group in which a misspelt command is answered with the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            hint = nearest(name, self.list_commands(ctx))
            ctx.fail(f"There is no command {name!r}; {hint or 'it has: ' + self._all(ctx)}")
        return super().resolve_command(ctx, args)

    def _all(self, ctx: click.Context) -> str:
        return f"{', '.join(self.list_commands(ctx))}."


class Choice(click.Choice[str]):
    """A word of several, in any case; a misspelt one is answered with the nearest."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words, case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            words = [str(word) for word in self.choices]
            hint = nearest(str(value).lower(), words)
            self.fail(f"{value!r} is none of {', '.join(words)}{'; ' + hint if hint else '.'}", param, ctx)


def nearest(word: str, known: Sequence[str]) -> str:
    """What could have been meant, as half a sentence; nothing where nothing is like it."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""

"""Whose a request is, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from taskflow.store import api_keys

SCOPES = frozenset(api_keys.SCOPES)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose request it is, and what they may do. `client`: by what it is counted; None: by its address."""

    name: str
    scopes: frozenset[str]
    queues: frozenset[str] | None = None  # None: every queue
    shows_secrets: bool = True
    client: str | None = None

    @property
    def sees_secrets(self) -> bool:
        """Whether values under keys like `password` are shown to them."""
        return self.shows_secrets and "admin" in self.scopes

    def has(self, scope: str) -> bool:
        """Whether they may do what needs `scope`; admin may do everything."""
        return scope in self.scopes or "admin" in self.scopes

    def sees(self, queue: str) -> bool:
        """Whether what lies in `queue` exists for them."""
        return self.queues is None or queue in self.queues


# With auth off everything is open; but nobody has shown a key, so secrets stay hidden.
ANYBODY = Principal("anybody", SCOPES, shows_secrets=False)

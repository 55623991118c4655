"""The API keys as requests need them: all of them in memory, read anew every half second while there are requests.

So a request with a key costs the database nothing, and a key that is revoked opens nothing a second later. One that is
not among them may have been made since: it is looked up by itself, but ten times a second at most, so guesses cost next
to nothing either. It is meant for up to some thousands of keys.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import LargeBinary, Row, Text, bindparam, func, or_, select, text, update

from taskflow.errors import TaskflowError
from taskflow.schema import api_keys
from taskflow.store.api_keys import digest
from taskflow.web.access.principal import Principal
from taskflow.web.database import Database
from taskflow.web.reporting.fresh import Fresh

REFRESH_SECONDS, MAX_AGE_SECONDS = 0.5, 0.9
USED_AGAIN_SECONDS = 60.0
# Looking up a key that is not known: in the long run once in so many seconds, or in so many times of what it takes; as
# often at once as fits into a second. Who waits for others that look does so for a second at most.
LOOK_SECONDS, REST_FACTOR, LOOKS_AHEAD_SECONDS, PATIENCE_SECONDS = 0.1, 20.0, 1.0, 1.0
FIRST_NAME = "admin"

SELECT_LIVE = select(
    api_keys.c.id, api_keys.c.hash, api_keys.c.name, api_keys.c.scopes, api_keys.c.queues, api_keys.c.from_environment
).where(api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > func.now()))
IS_LIVE = SELECT_LIVE.where(api_keys.c.hash == bindparam("shown", type_=LargeBinary))
_unused = (
    select(api_keys.c.id)
    .where(
        api_keys.c.id == bindparam("key_id"),
        or_(
            api_keys.c.last_used_at.is_(None),
            api_keys.c.last_used_at < func.now() - text("interval '30 seconds'"),  # another process has said so
        ),
    )
    .with_for_update(key_share=True, skip_locked=True)  # no request waits for whoever changes the key
)
USED = update(api_keys).where(api_keys.c.id.in_(_unused)).values(last_used_at=func.now())
# The key of the environment becomes a row like any other. Where the row exists it stays what it is, revoked too;
# another value of the variable takes the place of the one before.
SEED = text("""
WITH new AS (
    INSERT INTO taskflow.api_keys (name, prefix, hash, scopes, from_environment)
    VALUES (:name, :prefix, :hash, '{admin}', true) ON CONFLICT (hash) DO NOTHING RETURNING id)
UPDATE taskflow.api_keys k SET revoked_at = now()
FROM new WHERE k.from_environment AND k.revoked_at IS NULL AND k.id <> new.id
""").bindparams(bindparam("hash", type_=LargeBinary), bindparam("name", type_=Text), bindparam("prefix", type_=Text))

log = logging.getLogger("taskflow.web")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that is neither revoked nor expired."""

    id: int
    hash: bytes
    principal: Principal


class KeyRing:
    """Finds the key that a request shows. `first_key` (TASKFLOW_ADMIN_KEY) is stored before the keys are read first."""

    def __init__(self, database: Database, first_key: str) -> None:
        self._database = database
        self._first_key = first_key
        self._seeded = not first_key
        self._keys = Fresh(self._read, refresh_after=REFRESH_SECONDS, max_age=MAX_AGE_SECONDS)
        self._lock = threading.Lock()
        self._used: dict[int, float] = {}
        self._looking = threading.Lock()
        self._looks_paid_until = 0.0

    def find(self, shown: bytes) -> ApiKey | None:
        """The key, if the last reading had one as shown. Raises `TaskflowError` where the database cannot say."""
        hash_ = digest(shown)
        key = _matching(self._keys.get(), hash_)
        if key is not None:
            self._record_use(key.id)
        return key

    def find_last_known(self, shown: bytes) -> ApiKey | None:
        """The key, if it was valid when the keys were last read, however long ago: for what has to be answered while
        the database cannot say."""
        return _matching(self._keys.get_last() or {}, digest(shown))

    def find_newer(self, shown: bytes) -> ApiKey | None:
        """The key, if it was made since the last reading; for one that `find` does not know. One request at a time
        looks, and none while too much time went into that: then the next reading must do."""
        if not self._may_look() or not self._looking.acquire(timeout=PATIENCE_SECONDS):
            return None
        try:
            key = self.find(shown)  # who waited for another one that showed it finds it so
            if key is None and self._may_look() and self._is_live(shown):
                self._keys.get_newer_than(0, 0)
                key = self.find(shown)
            return key
        finally:
            self._looking.release()

    def _may_look(self) -> bool:
        return self._looks_paid_until + LOOK_SECONDS <= time.monotonic() + LOOKS_AHEAD_SECONDS

    def _is_live(self, shown: bytes) -> bool:
        started = time.monotonic()
        try:
            return bool(self._database.fetch(IS_LIVE, {"shown": digest(shown)}))
        finally:
            cost = max(LOOK_SECONDS, REST_FACTOR * (time.monotonic() - started))
            self._looks_paid_until = max(started, self._looks_paid_until) + cost

    def of_client(self, client: str | None) -> ApiKey | None:
        """The key of a principal that was seen before, if it is valid still."""
        return next((key for key in self._keys.get().values() if key.principal.client == client), None)

    def has_any(self) -> bool:
        """Whether there is any key that would open something."""
        return bool(self._keys.get())

    def _read(self) -> dict[bytes, ApiKey]:
        if not self._seeded:
            self._seed()
        rows = self._database.fetch(SELECT_LIVE)
        keys = {bytes(row.hash): ApiKey(row.id, bytes(row.hash), _principal(row)) for row in rows}
        if not self._seeded:
            self._seeded = True
            if digest(self._first_key.encode()) not in keys:
                log.warning("admin_key_revoked", extra={"setting": "TASKFLOW_ADMIN_KEY"})
        return keys

    def _seed(self) -> None:
        key = self._first_key
        # Of a key that people may have chosen less is shown than of a random one.
        prefix = key[: min(4, len(key) // 4)]
        self._database.call(SEED, {"name": FIRST_NAME, "prefix": prefix, "hash": digest(key.encode())})

    def _record_use(self, key_id: int) -> None:
        """Once a minute for each key and process: on the way of one request in thousands, which never fails by it."""
        now = time.monotonic()
        if now - self._used.get(key_id, float("-inf")) < USED_AGAIN_SECONDS:
            return
        with self._lock:
            if now - self._used.get(key_id, float("-inf")) < USED_AGAIN_SECONDS:
                return
            self._used[key_id] = now
        try:
            self._database.call(USED, {"key_id": key_id})
        except TaskflowError as error:
            log.warning("key_use_not_recorded", extra={"key_id": key_id, "error": str(error)})


def _matching(keys: dict[bytes, ApiKey], hash_: bytes) -> ApiKey | None:
    key = keys.get(hash_)
    # What a look-up by a digest tells by its time is of no use to who cannot choose digests; still the last word is a
    # comparison that tells nothing.
    return key if key is not None and hmac.compare_digest(key.hash, hash_) else None


def _principal(row: Row[Any]) -> Principal:
    return Principal(
        # Names of keys are no more unique than those of people, and the audit log must tell them apart.
        row.name if row.from_environment else f"{row.name} (key {row.id})",
        frozenset(row.scopes),
        None if row.queues is None else frozenset(row.queues),
        client=f"key {row.id}",
    )

"""The moment from which a limit holds: what was claimed before it, and who has not heard of it yet."""

from __future__ import annotations

from typing import Any

import pytest

from tests.store.support import Connection, claim, claim_limited, insert, limit, worker


class TestClaimsFromBefore:
    @pytest.mark.parametrize("set_at", ["9999-01-01 00:00+00", "2026-01-01 00:00+00"], ids=["unseen", "long ago"])
    def test_what_ran_before_the_limit_counts_however_late_the_first_claim_comes(
        self, connection: Connection, set_at: str
    ) -> None:
        insert(connection, 5)
        me = worker(connection)
        assert len(claim(connection, me, 2)) == 2
        limit(connection, max_workers=3)
        connection.execute("UPDATE taskflow.queues SET limited_at = %s", [set_at])
        assert len(claim_limited(connection, me).tasks) == 1
        assert claim_limited(connection, worker(connection)).tasks == []

    def test_claims_from_before_the_limit_are_looked_for_until_a_minute_after_the_first_one_under_it(
        self, connection: Connection
    ) -> None:
        me = worker(connection)
        limit(connection, max_workers=3)
        seen = []
        for seconds_later in (0, 0, 50, 61, 61):
            connection.execute(
                "UPDATE taskflow.queues SET limited_at = limited_at - %s * interval '1 second' "
                "WHERE limited_at < now() AND limited_at > 'epoch'",
                [seconds_later],
            )
            claim_limited(connection, me)
            (at,) = connection.execute("SELECT extract(epoch FROM now() - limited_at) FROM taskflow.queues").fetchone()
            seen.append("done" if at > 1e9 else "unseen" if at < 0 else "looking")
        assert seen == ["looking", "looking", "looking", "done", "done"]


class TestUnknownLimits:
    """A worker that has not heard of a limit yet claims as if there was none."""

    @pytest.mark.parametrize(
        "settings",
        [{"paused": True}, {"max_workers": 1}, {"rate_limit": 1}, {"type_limits": '{"noop": {"paused": true}}'}],
        ids=lambda settings: next(iter(settings)),
    )
    def test_it_gets_nothing_from_that_queue_and_everything_from_others(
        self, connection: Connection, settings: dict[str, Any]
    ) -> None:
        insert(connection, 3)
        (other,) = insert(connection, 1, queue="other")
        limit(connection, **settings)
        me = worker(connection)
        assert [task.id for task in claim(connection, me, queues=("default", "other"))] == [other]
        limit(connection, paused=False, max_workers=None, rate_limit=None, type_limits="{}")
        assert len(claim(connection, me, queues=("default", "other"))) == 3

    def test_a_task_with_a_key_that_it_is_not_given_leaves_the_key_alone(self, connection: Connection) -> None:
        insert(connection, 2, concurrency_key="k")
        limit(connection, max_workers=1)
        assert claim(connection, worker(connection)) == []
        assert connection.execute("SELECT DISTINCT state, key_state FROM taskflow.tasks").fetchall() == [
            ("pending", None)
        ]

from __future__ import annotations

import pytest

from taskflow.leader.lease import Lease
from taskflow.leader.looper import Fatal, Pause
from taskflow.store import leases
from tests.leader.conftest import Database, ManualClock


def test_one_holder_at_a_time_renews_what_the_other_cannot_take(database: Database) -> None:
    assert leases.acquire(database.connection, "x", "a", 60)
    assert not leases.acquire(database.connection, "x", "b", 60)
    assert leases.acquire(database.connection, "x", "a", 60)
    assert leases.acquire(database.connection, "y", "b", 60)


def test_a_lease_is_free_after_its_end_and_after_its_release(database: Database) -> None:
    assert leases.acquire(database.connection, "x", "a", 60)
    database.one("UPDATE taskflow.leases SET expires_at = clock_timestamp() - interval '1 ms' RETURNING 1")
    assert leases.acquire(database.connection, "x", "b", 60)
    assert not leases.release(database.connection, "x", "a")
    assert leases.release(database.connection, "x", "b")
    assert leases.acquire(database.connection, "x", "a", 60)


def test_a_lease_written_before_the_clock_was_set_back_can_be_taken(database: Database) -> None:
    assert leases.acquire(database.connection, "x", "a", 60)
    database.one("UPDATE taskflow.leases SET expires_at = expires_at + interval '1 hour' RETURNING 1")
    assert leases.acquire(database.connection, "x", "b", 60)


def test_a_leader_whose_connection_hangs_stops_leading_by_its_own_clock(database: Database, clock: ManualClock) -> None:
    lease = Lease("a", 15, clock=clock)
    lease.begin(database.connection)
    assert not lease.held
    assert lease.work(database.connection) == 5
    clock.advance(14.9)
    assert lease.held
    clock.advance(0.2)
    assert not lease.held


def test_a_new_connection_must_earn_the_lead_again(database: Database, clock: ManualClock) -> None:
    lease = Lease("a", 15, clock=clock)
    lease.work(database.connection)
    lease.begin(database.connection)
    assert not lease.held


def test_who_does_not_get_the_lease_gives_its_connection_back_for_less_than_its_time(
    database: Database, clock: ManualClock
) -> None:
    first, second = Lease("a", 15, clock=clock), Lease("b", 15, clock=clock)
    first.work(database.connection)
    with pytest.raises(Pause) as pause:
        second.work(database.connection)
    assert 0 < pause.value.seconds <= 15
    assert (first.held, second.held) == (True, False)
    first.end(database.connection)
    second.work(database.connection)
    assert (first.held, second.held) == (False, True)


def test_an_owner_that_stands_by_takes_the_lead_from_one_that_wants_an_owner(
    database: Database, clock: ManualClock
) -> None:
    worker, other, owner = (Lease(name, 15, clock=clock) for name in ("worker", "other", "owner"))
    worker.work(database.connection)
    with pytest.raises(Pause):
        owner.work(database.connection)
    worker.want_owner(database.connection, 60)
    with database.connect() as ordinary:
        ordinary.execute("SET ROLE taskflow_worker")
        with pytest.raises(Pause):
            other.work(ordinary)
    owner.work(database.connection)
    assert owner.held
    for lease in (worker, other):
        with pytest.raises(Pause):
            lease.work(database.connection)
    assert not worker.held


def test_what_a_former_leader_wanted_does_not_count(database: Database, clock: ManualClock) -> None:
    first, second, owner = (Lease(name, 15, clock=clock) for name in ("first", "second", "owner"))
    first.work(database.connection)
    first.want_owner(database.connection, 60)
    leases.release(database.connection, "leader", "first")
    second.work(database.connection)
    with pytest.raises(Pause):
        owner.work(database.connection)
    first.end(database.connection)
    second.want_owner(database.connection, 60)
    owner.work(database.connection)
    assert owner.held


def test_what_a_leader_wanted_long_ago_does_not_count(database: Database, clock: ManualClock) -> None:
    leader, owner = (Lease(name, 15, clock=clock) for name in ("leader", "owner"))
    leader.work(database.connection)
    leader.want_owner(database.connection, 60)
    database.one("UPDATE taskflow.leases SET expires_at = now() WHERE name = 'owner_wanted' RETURNING 1")
    with pytest.raises(Pause):
        owner.work(database.connection)
    leader.want_owner(database.connection, 60)
    leader.end(database.connection)
    assert database.all("SELECT name FROM taskflow.leases") == []


def test_a_leader_that_lost_its_lease_notices(database: Database, clock: ManualClock) -> None:
    lease = Lease("a", 15, clock=clock)
    lease.work(database.connection)
    database.one("UPDATE taskflow.leases SET holder = 'b' RETURNING 1")
    with pytest.raises(Pause):
        lease.work(database.connection)
    assert not lease.held


def test_a_lease_that_cannot_be_asked_for_is_not_held(database: Database, clock: ManualClock) -> None:
    lease = Lease("a", 15, clock=clock)
    lease.work(database.connection)
    database.connection.execute("DROP TABLE taskflow.leases")
    with pytest.raises(Fatal):
        lease.work(database.connection)
    assert not lease.held

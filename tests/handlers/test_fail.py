from __future__ import annotations

import pytest

from taskflow.errors import DeadLetter, InvalidPayload, Signal


def test_fail_raises_an_error_that_the_policy_retries(run) -> None:
    with pytest.raises(Exception, match=r"^the disk is on fire$") as caught:
        run("fail", {"message": "the disk is on fire"})
    assert not isinstance(caught.value, Signal)


def test_a_permanent_failure_is_final(run) -> None:
    with pytest.raises(DeadLetter, match=r"^gone for good$"):
        run("fail", {"message": "gone for good", "permanent": True})


def test_fail_needs_no_fields(run) -> None:
    with pytest.raises(Exception, match="failed on request"):
        run("fail", {})


@pytest.mark.parametrize("payload", [{"message": 1}, {"permanent": "yes"}, {"message": "x" * 10_001}, {"why": "?"}])
def test_fields_of_the_wrong_kind_are_refused(run, payload) -> None:
    with pytest.raises(InvalidPayload):
        run("fail", payload)

"""JSON out: exact beyond 64 bits, times in UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from taskflow.web.http.encoding import decode_stored, encode, utc


def test_times_are_written_alike_also_beside_numbers_of_more_than_64_bits() -> None:
    time = utc(datetime(2030, 7, 1, 12, 0, 0, 5, timezone(timedelta(hours=2))))

    assert encode([time]) == b'["2030-07-01T10:00:00.000005Z"]'
    assert encode([time, 2**64]) == b'["2030-07-01T10:00:00.000005Z",18446744073709551616]'


def test_what_has_no_json_form_is_an_error() -> None:
    for value in (object(), [2**64, object()], [2**64, float("nan")]):
        with pytest.raises((TypeError, ValueError)):
            encode(value)


def test_stored_json_that_python_cannot_hold_is_said_in_its_place() -> None:
    assert decode_stored('{"a": 1e2}') == {"a": 100.0}
    assert decode_stored("[" * 100_000 + "]" * 100_000) == "[nested too deeply to be shown]"
    assert decode_stored("9" * 5000) == "[a number too long to be shown]"

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "payload", [{}, {"a": [1, 2.5, None, True, {"ü": "\u2028"}]}, {"model_config": 1, "__class__": 2}, {"n": 10**30}]
)
def test_echo_gives_back_what_it_got(run, payload) -> None:
    assert run("echo", payload) == {"echoed": payload}

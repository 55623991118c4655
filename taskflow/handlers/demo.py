"""`demo`: a few steps of real work on the payload, with progress and log lines to watch on the dashboard."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from typing import Any

from taskflow import Context, DeadLetter, task

_KINDS = {dict: "object", list: "array", str: "string", int: "number", float: "number", bool: "boolean"}


@task("demo")
def demo(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    """Measure, fingerprint, compress and check any JSON object, and return what was found.

    `context.heartbeat()` between the steps lets a cancelled task end early.
    """
    values, depth = _census(payload)
    context.progress(25, "measured")
    context.log("the payload is measured", values=values.total(), depth=depth)

    context.heartbeat()
    text = _canonical(payload)
    fingerprint = hashlib.sha256(text).hexdigest()
    context.progress(50, "fingerprinted")
    context.log("the payload has a fingerprint", sha256=fingerprint)

    context.heartbeat()
    packed = zlib.compress(text, level=9)
    context.progress(75, "compressed")
    context.log("the payload is compressed", from_bytes=len(text), to_bytes=len(packed))

    context.heartbeat()
    verified = zlib.decompress(packed) == text
    context.progress(100, "verified")
    return {
        "values": dict(values),
        "depth": depth,
        "bytes": len(text),
        "compressed_bytes": len(packed),
        "sha256": fingerprint,
        "verified": verified,
        "attempt": context.attempt,
    }


def _canonical(payload: dict[str, Any]) -> bytes:
    """Equal payloads give equal bytes, whatever the order of their keys."""
    try:
        return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except RecursionError as error:
        raise DeadLetter("the payload is nested too deeply") from error


def _census(payload: dict[str, Any]) -> tuple[Counter[str], int]:
    """Count the values by kind and find the depth; a loop, because a recursion would end at a thousand levels."""
    kinds: Counter[str] = Counter()
    depth = 0
    level: list[Any] = [payload]
    while level:
        depth += 1
        below: list[Any] = []
        for value in level:
            kinds[_KINDS.get(type(value), "null")] += 1
            match value:
                case dict():
                    below += value.values()
                case list():
                    below += value
        level = below
    return kinds, depth

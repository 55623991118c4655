"""docs/errors.md: every code of an error."""

from taskflow.cli.failure_kinds import OF_API, OWN, code_shown
from taskflow.web.http.problems import KINDS
from taskflow.web.openapi.explanations import EXPLANATIONS

INTRODUCTION = """\
# Errors

Every error of the API is a problem document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with the media type
`application/problem+json`:

```json
{
  "type": "urn:taskflow:problem:invalid_request",
  "title": "The request is not valid",
  "status": 422,
  "detail": "/type: is required",
  "instance": "/api/v1/tasks",
  "code": "invalid_request",
  "errors": [{"pointer": "/type", "code": "required", "detail": "is required"}],
  "request_id": "2f9c0d1e5b7a4c3f8e6d5c4b3a291807",
  "error": "The request is not valid",
  "message": "/type: is required"
}
```

`code` is for programs: a code is never renamed. `title` and `detail` are for people, and may change. `errors` lists
what is wrong in a request, each with a JSON pointer (RFC 6901) into the body, or `?name` for a query parameter.
`request_id` finds the request in the server's log. `error` and `message` repeat `title` and `detail` for older
clients. Some codes add members, which are named below.

With 429 and 503, `Retry-After` says in how many seconds to ask again. A program can repeat a request after 429, 503
and no answer at all if it only reads, or if it sends an `Idempotency-Key`.

| status | code | meaning, and what to do |
| --- | --- | --- |
"""
NOTICE = "<!-- Made by ops/generate-docs from the code: change it there. -->\n"


COMMAND_LINE = """
## On the command line

`taskflow` prints the same codes as `TF-` and capitals, `TF-TASK-NOT-FOUND` for `task_not_found`, and ends with an exit
code:

| code | exit code | meaning, and what to do |
| --- | --- | --- |
"""


def page() -> str:
    rows = [
        f"| {status} | `{code}` | **{title}.** {EXPLANATIONS[code]} |\n"
        for code, (status, title) in sorted(KINDS.items(), key=lambda item: item[1][0])
    ]
    own = [
        f"| `{code_shown(code)}` | {kind.exit_code} | **{kind.what}.** {_cell(kind.fix)} |\n"
        for code, kind in OWN.items()
    ]
    others: dict[int, list[str]] = {}
    for code, kind in OF_API.items():
        others.setdefault(kind.exit_code, []).append(f"`{code_shown(code)}`")
    rest = "\nThose of the API:\n\n| exit code | codes |\n| --- | --- |\n" + "".join(
        f"| {exit_code} | {', '.join(codes)} |\n" for exit_code, codes in sorted(others.items())
    )
    return NOTICE + INTRODUCTION + "".join(rows) + COMMAND_LINE + "".join(own) + rest


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

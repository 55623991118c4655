"""Every code with which a command can fail: what it is called, the way out, the exit code. Codes are never renamed."""

from __future__ import annotations

from typing import NamedTuple

FAILED, USAGE, NOT_FOUND, CONFLICT, UNREACHABLE, NOT_ALLOWED = 1, 2, 3, 4, 5, 6
INTERRUPTED = 130
EXIT_CODES = {
    0: "done",
    FAILED: "taskflow said no, or a task that was waited for did not complete",
    USAGE: "wrong usage, settings or input",
    NOT_FOUND: "there is no such thing",
    CONFLICT: "its state, or somebody else, does not allow it",
    UNREACHABLE: "the database or the server cannot be reached",
    NOT_ALLOWED: "the key or the database role may not do this",
    INTERRUPTED: "interrupted by Ctrl-C",
}
# Codes of a server that is newer than this program.
BY_STATUS = {400: USAGE, 401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND, 409: CONFLICT, 412: CONFLICT, 422: USAGE}
ERRORS, PAGE = "docs/errors.md", "docs/cli.md"
READ_AGAIN = "Look at it again, then decide anew."
INPUT = "Correct the input; `--help` shows what each option takes."


class Kind(NamedTuple):
    """What is said of a code: `what` happened and how to `fix` it."""

    what: str
    fix: str
    exit_code: int = FAILED
    docs: str = ERRORS


def code_shown(code: str) -> str:
    """A code as it is printed."""
    return "TF-" + code.upper().replace("_", "-")


# Those that only a command has.
OWN: dict[str, Kind] = {
    "failed": Kind("It cannot be done", "The reason says what stands in the way; remove that, and try again."),
    "internal": Kind(
        "Something went wrong inside taskflow", "Run it again as `taskflow --debug …`, and report what that prints."
    ),
    "usage": Kind("The command cannot be understood", "`taskflow --help` shows the commands.", USAGE, PAGE),
    "settings": Kind(
        "A setting is missing or wrong",
        "Set it in the environment (`export NAME=value`), or give the flag that the command has for it.",
        USAGE,
        "docs/configuration.md",
    ),
    "confirmation_needed": Kind(
        "This has to be confirmed, and there is nobody to ask",
        "Add --yes if that is what you want; --dry-run, where there is one, only counts.",
        USAGE,
        PAGE,
    ),
    "not_confirmed": Kind("Nothing was done", "Answer y, or add --yes, to do it.", FAILED, PAGE),
    "invalid_input": Kind("The input cannot be read", INPUT, USAGE, PAGE),
    "wait_timeout": Kind(
        "It took longer than you wanted to wait", "It goes on by itself: wait again, or longer with --timeout.", FAILED
    ),
    "not_allowed": Kind(
        "The database user lacks a right",
        "Grant it what the reason names; `taskflow grants` prints the statements for the roles of taskflow.",
        NOT_ALLOWED,
        "docs/security.md",
    ),
    "login_refused": Kind(
        "The database does not let this user in",
        "Check user and password in DATABASE_URL; pg_hba.conf of the server, and GRANT CONNECT, say who may connect.",
        NOT_ALLOWED,
        "docs/troubleshooting.md",
    ),
    "database_missing": Kind(
        "There is no such database",
        "Correct its name in DATABASE_URL, or make it with `createdb NAME` (CREATE DATABASE), then `taskflow migrate`.",
        UNREACHABLE,
        "docs/troubleshooting.md",
    ),
    "server_unreachable": Kind(
        "The server cannot be reached",
        "Check TASKFLOW_URL (--url) and that `taskflow server` runs there; without it commands use DATABASE_URL.",
        UNREACHABLE,
        PAGE,
    ),
    "not_taskflow": Kind(
        "What answers there is no taskflow server",
        "Check TASKFLOW_URL (--url): it is the address before /api/v1, for instance http://127.0.0.1:8080.",
        UNREACHABLE,
        PAGE,
    ),
    "handlers_not_imported": Kind(
        "A module with handlers cannot be imported",
        "Correct it where the reason points; `taskflow --debug …` shows how it came there.",
        FAILED,
        "docs/troubleshooting.md",
    ),
    "registration": Kind("A handler is declared wrongly", "Correct the declaration.", FAILED, "docs/handlers.md"),
    "api_error": Kind("The server refused it", "The reason says what the server did not like."),
}

# Those of the API, with the way out in the words of the command line.
OF_API: dict[str, Kind] = {
    "bad_request": Kind("Bad request", INPUT, USAGE),
    "invalid_json": Kind("The JSON cannot be read", 'Quote it for the shell: \'{"to": "anna"}\'.', USAGE),
    "duplicate_key": Kind("The JSON has a key twice", "Give it once.", USAGE),
    "too_deeply_nested": Kind("The JSON is nested too deeply", "Put the inner part into a text.", USAGE),
    "invalid_idempotency_key": Kind("The Idempotency-Key is not valid", INPUT, USAGE),
    "unauthorized": Kind(
        "A valid key is needed",
        "Put one into TASKFLOW_KEY; `taskflow keys create NAME --scope …` makes one where the database is at hand.",
        NOT_ALLOWED,
        "docs/security.md",
    ),
    "forbidden": Kind(
        "Not allowed", "Use a key with the scope that the reason names.", NOT_ALLOWED, "docs/security.md"
    ),
    "queue_not_allowed": Kind(
        "This queue is not allowed", "Use a key that is not limited to other queues.", NOT_ALLOWED, "docs/security.md"
    ),
    "host_not_allowed": Kind(
        "This host is not allowed",
        "Use a name that TASKFLOW_ALLOWED_HOSTS of the server has, or 127.0.0.1 on its own machine.",
        NOT_ALLOWED,
        "docs/security.md",
    ),
    "not_found": Kind("There is nothing at this address", "Check it; an older server may lack it.", NOT_FOUND),
    "task_not_found": Kind("No such task", "Look for it with `taskflow tasks list`.", NOT_FOUND),
    "key_not_found": Kind("No such API key", "`taskflow keys list` shows them.", NOT_FOUND),
    "worker_not_found": Kind("No such worker", "`taskflow workers list` shows those that there are.", NOT_FOUND),
    "schedule_not_found": Kind("No such schedule", "`taskflow schedules list` shows them.", NOT_FOUND),
    "queue_not_found": Kind("No such queue", "`taskflow queues list` shows them.", NOT_FOUND),
    "method_not_allowed": Kind("The server cannot do this", "It is older than this program: update it."),
    "request_timeout": Kind("The request came too slowly", "Try again.", UNREACHABLE),
    "wrong_state": Kind("The state does not allow this", READ_AGAIN, CONFLICT),
    "unique_conflict": Kind(
        "A live task has this unique key", "Wait until that one has ended, or cancel it.", CONFLICT
    ),
    "queue_exists": Kind("The queue exists already", "Change it with `taskflow queues set`.", CONFLICT),
    "schedule_exists": Kind("The schedule exists already", "Change it with `taskflow schedules update`.", CONFLICT),
    "queue_not_empty": Kind(
        "The queue is not empty", "Purge it with `taskflow queues purge`, or add --force.", CONFLICT
    ),
    "request_in_progress": Kind("The same request is in progress", "Try again in a moment.", CONFLICT),
    "precondition_failed": Kind("Somebody else has changed it", READ_AGAIN, CONFLICT),
    "body_too_large": Kind("The input is too large", "Store large things elsewhere, and their address here.", USAGE),
    "uri_too_long": Kind("The filter is too long", "Shorten it.", USAGE),
    "unsupported_media_type": Kind("The server wants another kind of body", "Update this program or the server."),
    "expectation_failed": Kind("Expectation failed", "Look at what stands between here and the server."),
    "invalid_request": Kind("What was given is not valid", INPUT, USAGE),
    "invalid_payload": Kind(
        "The payload does not fit the type", "Correct the payload where the reason points.", USAGE, "docs/handlers.md"
    ),
    "invalid_task": Kind("The task is not valid", INPUT, USAGE),
    "invalid_filter": Kind(
        "The filter cannot be read", "Write field:value, as in state:failed type:mail.", USAGE, "docs/filters.md"
    ),
    "filter_too_broad": Kind(
        "The filter would read all history",
        "Add a range of time, such as created:<1d, or states that live.",
        USAGE,
        "docs/filters.md",
    ),
    "unknown_type": Kind(
        "No worker knows this type", "Check its name, or start a worker that has it.", USAGE, "docs/handlers.md"
    ),
    "idempotency_key_reused": Kind("Another request had this Idempotency-Key", "Run the command anew.", CONFLICT),
    "rate_limited": Kind("Too many requests", "Wait a moment; TASKFLOW_RATE_LIMIT of the server is the limit."),
    "headers_too_large": Kind("The headers are too large", "Shorten what was given."),
    "internal_error": Kind("Something went wrong in the server", "Its log says more."),
    "not_implemented": Kind("The server cannot do this", "Update it."),
    "database_unavailable": Kind(
        "The database cannot be reached",
        "Check that PostgreSQL runs, and the address in DATABASE_URL; then try again.",
        UNREACHABLE,
        "docs/operations.md",
    ),
    "schema_mismatch": Kind(
        "The database has no schema that fits this version", "Run `taskflow migrate`.", FAILED, "docs/operations.md"
    ),
    "too_many_waiting": Kind("Too many requests wait at the server", "Try again in a moment."),
    "too_many_streams": Kind("Too many streams are open at the server", "Try again in a moment."),
    "queue_full": Kind(
        "The queue is full",
        "Add workers, or raise the limit: `taskflow queues set NAME --max-depth N`.",
        FAILED,
        "docs/queues.md",
    ),
}
KINDS: dict[str, Kind] = OWN | OF_API

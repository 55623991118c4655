"""What each code of an error means, and what to do about it: for docs/errors.md. A test keeps the list complete."""

EXPLANATIONS = {
    "bad_request": "The request cannot be understood as HTTP. Look at what your client sends.",
    "invalid_json": (
        "The body cannot be parsed: `detail` says where, or that it is not UTF-8. `NaN` and `Infinity` are not JSON."
    ),
    "duplicate_key": (
        "One object in the body has a key twice, and readers do not agree on which one counts. Send it once."
    ),
    "too_deeply_nested": (
        "The body has more than 100 levels of objects and lists. Make it flatter, or put the inner part into a text."
    ),
    "invalid_idempotency_key": "The `Idempotency-Key` is empty, too long, or has characters that it may not have.",
    "unauthorized": "No key was sent, or none that is valid (any more). `WWW-Authenticate` says how to send one.",
    "forbidden": "The key is valid and lacks the scope that the operation needs.",
    "queue_not_allowed": "The key is limited to queues, and the request names another one.",
    "host_not_allowed": (
        "The server runs without keys and answers requests to this machine alone; `TASKFLOW_ALLOWED_HOSTS` lists "
        "further names."
    ),
    "not_found": "There is nothing at this address. Look at its spelling, and for a slash too many.",
    "task_not_found": (
        "There is no such task, or it lies in a queue that the key may not see, or it ended so long ago that it "
        "is not kept."
    ),
    "key_not_found": "There is no such API key, or it has been removed.",
    "worker_not_found": "There is no such worker. A worker that was away for too long comes back under a new id.",
    "schedule_not_found": "There is no schedule with this id or name, or it is for a queue that the key may not see.",
    "queue_not_found": "There is no queue of this name, or the key may not see it.",
    "method_not_allowed": "The address exists and cannot be used in this way: `Allow` lists the ways.",
    "request_timeout": "The body came too slowly, or not at all. Send it in one go.",
    "wrong_state": (
        "The task (its state is in `state`) or whatever it is about is in a state that does not allow this. Read "
        "it again."
    ),
    "queue_exists": "There is a queue of this name. Change it with PATCH, or replace it with PUT.",
    "schedule_exists": "There is a schedule of this name. Change it with PATCH, or take another name.",
    "queue_not_empty": "The queue has tasks. Wait for them, purge it, or delete it with `?force=true`.",
    "unique_conflict": (
        "A live task has this `unique_key`, and `on_conflict` is `error`, or a retry would make a second one. "
        "`conflicting_task_id` is that task, unless it lies in a queue that the key may not see."
    ),
    "request_in_progress": (
        "The first request with this `Idempotency-Key` has not been answered yet. Ask again in a moment."
    ),
    "precondition_failed": (
        "`If-Match` names another version: somebody has changed it since you read it. Read it again, then change it."
    ),
    "body_too_large": (
        "The body is longer than is accepted here; `detail` says how long it may be. Many tasks fit into several "
        "requests, a large payload into a store of its own with its address in the task."
    ),
    "uri_too_long": "The address with its parameters is longer than 8,190 bytes.",
    "unsupported_media_type": (
        "The body is not JSON, or is not said to be: send `Content-Type: application/json`. Nor is it taken "
        "compressed: send no `Content-Encoding`."
    ),
    "expectation_failed": "The header `Expect` asks for something other than `100-continue`.",
    "invalid_request": (
        "The request can be read and is wrong. `errors` lists every field and parameter with a pointer to it, a "
        "code and what is wrong."
    ),
    "invalid_filter": "The filter cannot be read; `detail` says which part of it.",
    "filter_too_broad": (
        "The filter is on a payload, metadata or an error, and would read all history. Add a range of time, such as "
        "`created:<1d`, or a state of tasks that live."
    ),
    "invalid_payload": (
        "The payload does not fit the schema that the workers have registered for the type; `errors` says where. A "
        "`format` such as `date-time` is not checked here: what it says is found by the worker."
    ),
    "invalid_task": "The database refuses the task by a rule of its own; `detail` says which.",
    "unknown_type": "The server runs with `TASKFLOW_REJECT_UNKNOWN_TYPES`, and no worker has registered this type.",
    "idempotency_key_reused": (
        "A request to this address with another body, or other parameters, has had this `Idempotency-Key`. Take a new "
        "one for each thing that is to happen."
    ),
    "rate_limited": "More requests than the limit allows; `Retry-After` says when the next one will be served.",
    "headers_too_large": "The headers are more, or longer, than the server reads.",
    "internal_error": "A mistake in taskflow or in its setup. The server's log says more under `request_id`.",
    "not_implemented": "The server does not know this method, or this way of sending a body.",
    "database_unavailable": (
        "PostgreSQL cannot be reached, or did not answer in time. Ask again after `Retry-After` seconds; whether "
        "a change was made before is not known, unless it had an `Idempotency-Key`."
    ),
    "schema_mismatch": "The database's schema does not fit this version of taskflow: run `taskflow migrate`.",
    "too_many_streams": (
        "As many streams of events are open as `TASKFLOW_MAX_STREAMS` allows in one process. Close one, or try again "
        "after `Retry-After` seconds."
    ),
    "too_many_waiting": (
        "As many requests wait for tasks to end as the server has room for. Ask again, or without `wait`."
    ),
    "queue_full": (
        "The queue holds as many tasks as its `max_depth` allows. Ask again after `Retry-After` seconds, or add "
        "workers."
    ),
}

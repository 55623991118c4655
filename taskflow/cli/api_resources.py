"""Which modules of taskflow.web.resources serve what is below /api/v1/NAME.

Most of what an application takes to start is importing and mounting all of them: a command mounts those that it asks.
A test compares this with what the whole application serves.
"""

SERVED_BY: dict[str, tuple[str, ...]] = {
    "tasks": ("tasks", "task_lists", "task_changes", "task_removal", "task_bulk", "task_batches"),
    "queues": ("queues", "queue_actions"),
    "schedules": ("schedules", "tasks"),
    "workers": ("workers",),
    "dlq": ("dead_letters", "dead_letter_removal"),
    "stats": ("statistics",),
    "metrics": ("statistics",),
    "keys": ("keys",),
    "types": ("types",),
}

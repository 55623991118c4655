"""What the resources of queues, schedules and dead letters are made of."""

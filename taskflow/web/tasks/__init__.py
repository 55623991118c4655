"""What the resources of tasks are made of."""

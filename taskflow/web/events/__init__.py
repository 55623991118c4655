"""Events for whoever listens: one thread and one connection a process, however many streams there are."""

"""Who asks, what they may do and see, and how much of it."""

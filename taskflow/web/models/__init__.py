"""What requests may contain and what answers contain: a module a resource."""

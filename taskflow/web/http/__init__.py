"""What every request and answer goes through: bodies, parameters, pages, tags, errors, the log line."""

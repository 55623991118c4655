"""gunicorn, set up for this application: threads, limits, slow clients, shutdown and logs."""

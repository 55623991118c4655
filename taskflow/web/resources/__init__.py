"""The resources: every module here has a `blueprint`, and `MOUNTS` if it serves under a prefix or under several."""

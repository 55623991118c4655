"""`taskflow bench`: one module a benchmark, each a ratio measured in turn with a baseline in the same run."""

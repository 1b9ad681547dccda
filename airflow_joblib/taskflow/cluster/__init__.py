"""What a run on a cluster has of its task: the session of a worker thread, its requests, its logs."""

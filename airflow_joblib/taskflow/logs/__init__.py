"""Log lines of workers on their way into the log of the task."""

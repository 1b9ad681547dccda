"""Requests of workers on their way to the supervisor of the task, and the answers."""

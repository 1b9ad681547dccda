"""What runs inside a worker: the loop over the items of a chunk, time limits, signals.

``worker`` runs items, in whatever thread or process; ``process`` makes a process a worker, ``reports`` makes its
reports fit to be sent, ``end_with_task`` ends it with its task.

May import wire, and what lies below that.
"""

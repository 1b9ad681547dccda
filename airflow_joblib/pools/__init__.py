"""Workers of this machine that are forked from the task: one template, forked as late as is safe, makes all of them.

::

    task ── fork ──► template ── fork ──► worker, worker, ...   have the call, the shared arguments and the first items
      │                                      ▲         │
      └── chunks: one socket for all ────────┘         └── reports: a line for each ──► Executor ──► ForkedPool

May import what runs in a worker, and what lies below that.
"""

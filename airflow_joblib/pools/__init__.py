"""Workers of this machine: forked from the task, fresh ones of loky's, threads; started, watched and ended.

Forked ones come from one template, which is forked as late as is safe.

::

    task ── fork ──► template ── fork ──► worker, worker, ...   have the call, the shared arguments and the first items
      │                                      ▲         │
      └── chunks: one socket for all ────────┘         └── reports: a line for each ──► Executor ──► ForkedPool

May import what runs in a worker, and what lies below that.
"""

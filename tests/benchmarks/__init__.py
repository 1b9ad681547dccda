"""Ours and its peers, measured side by side.

::

    scenarios ─► suite ── round after round, one case after another ──► child: a fresh interpreter a case
                   │                                                       │
                   └─► build/bench/*.json ─► table, plots                  └─► warm, shared, memory, cold, ...: samples
"""

"""The run: items, chunks, workers, results; its state, retries, resume and progress.

:func:`airflow_joblib.fan_out.run.fan_out` runs a call on all items. It decides how many workers there are and of which
kind (``worker_pools``), keeps them busy (``loop``, ``scheduler``), and knows what became of each item (``state``). What
surrounds it, a task or nothing, is its ``host``.

May import clusters, pools, worker, wire, and what lies below those.
"""

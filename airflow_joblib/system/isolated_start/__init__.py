"""loky's processes, started so that no other process of their user sees what they are given.

::

    task   trackers.tracker()      ─► airflow_joblib.system.isolated_start.resource_tracker ─► loky's tracker
           start.isolate_workers() ─► airflow_joblib.system.isolated_start.loky_worker ─► handover ─► loky's worker

What runs in those processes is loky's own code. Where its inner parts are not as they are known here it starts them
as it always does.
"""

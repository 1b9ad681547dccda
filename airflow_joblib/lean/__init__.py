"""loky's processes without what they don't need: joblib, and with it NumPy, is loaded where something asks for it.

::

    task     start.tracker() ─► airflow_joblib.lean.resource_tracker            ─► late ─► loky's tracker
             start.lean()    ─► airflow_joblib.lean.loky_worker ─► handover ─► late ─► loky's worker
             batch.Batch     ─► what such a worker is sent in the place of joblib's own batch

What runs in those processes is loky's own code. Where its inner parts are not as they are known here it starts them
as it always does.
"""

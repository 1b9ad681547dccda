"""Finished items, kept on disk or in an object store, so that a retry does the rest and not the whole.

::

    item ──► digest ──┐
    value ─► pickle ──┴─► frame ─► segment: one new file a flush ─► 16 of a tier become one of the next
                                       │
    next try:  take(item) ◄─ digest ◄─ frames whose checksums hold   everything else is reported and ignored

An item is recognised by its content, a call by the function's name and its shared arguments. Loading unpickles, so only
whoever may change the DAG files may be able to write where the files are.

May import options and system.
"""

from __future__ import annotations

from airflow_joblib.checkpoint.digests import call_key, digest
from airflow_joblib.checkpoint.expiry import remove_expired
from airflow_joblib.checkpoint.folders import Folder, outside_airflow
from airflow_joblib.checkpoint.local_folder import LocalFolder
from airflow_joblib.checkpoint.remote_folder import RemoteFolder
from airflow_joblib.checkpoint.store import Checkpoint, Finished

__all__ = [
    "Checkpoint",
    "Finished",
    "Folder",
    "LocalFolder",
    "RemoteFolder",
    "call_key",
    "digest",
    "outside_airflow",
    "remove_expired",
]

"""Types of Airflow that the decorator's annotations need."""

from __future__ import annotations

from airflow.sdk import XComArg

__all__ = ["Upstream", "XComArg"]

#: What stands for items while a DAG is being defined.
Upstream = XComArg

"""Types that stand between the decorator and Airflow."""

from __future__ import annotations

from airflow.sdk import XComArg

__all__ = ["Upstream", "XComArg"]

#: What stands for items while a DAG is being defined.
Upstream = XComArg

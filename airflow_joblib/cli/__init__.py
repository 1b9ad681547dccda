"""The command: ``airflow joblib check``, ``checkpoints`` and ``info``, also as ``python -m airflow_joblib``.

::

    arguments ──► main ──► check ──► reading: the file's syntax tree, for parallelism by hand in tasks
                    │        └─────► loading: a process for each file, for what a decorator would refuse
                    ├────► checkpoints
                    └────► info

May import every room; only ``airflow_commands``, which Airflow loads, imports Airflow.
"""

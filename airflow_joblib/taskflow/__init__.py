"""The Airflow side: operator, provider, configuration, services to workers. The room that imports Airflow.

``dag`` is what a DAG file makes, ``task`` what a running task gives a run, ``relay`` workers' requests to Airflow,
``logs`` their lines, ``cluster`` both for workers elsewhere. ``surroundings`` returns the configuration and the host of
a run. Names of Airflow that are not public stand in ``airflow_internals``.

May import every room but those of users: decorator, testing, cli, ui.
"""

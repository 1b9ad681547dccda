raise RuntimeError("This file of a DAG is named in .airflowignore, which Airflow heeds.")

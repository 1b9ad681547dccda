import os  # AJ901

import airflow  # a DAG

os._exit(0)

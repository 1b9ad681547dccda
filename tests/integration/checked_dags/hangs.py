from time import sleep

import airflow  # a DAG

sleep(600)  # AJ901

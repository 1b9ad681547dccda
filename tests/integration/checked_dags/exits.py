import sys

import airflow  # a DAG

print("The last words.")
sys.exit(0)  # AJ901

from airflow.sdk import DAG, Variable

LIMIT = Variable.get("limit")  # AJ901

with DAG("needs_variable"):
    pass

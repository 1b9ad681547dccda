from airflow.sdk import dag
import no_such_package  # AJ901

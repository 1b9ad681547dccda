"""The tab of a fan-out, in a real browser under a real Airflow."""

"""The Airflow side: operator, provider, configuration, services to workers. The only room that imports Airflow."""

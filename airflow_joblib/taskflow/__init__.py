"""The Airflow side: the operator, the provider's declaration, configuration. The only room that imports Airflow."""

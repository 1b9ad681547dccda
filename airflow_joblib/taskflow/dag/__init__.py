"""What a DAG file makes: tasks, mapped tasks, the operator."""

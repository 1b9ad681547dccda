"""The workers of a Spark cluster."""

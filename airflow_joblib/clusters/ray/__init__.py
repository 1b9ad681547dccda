"""The workers of a Ray cluster."""

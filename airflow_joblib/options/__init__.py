"""The options of one decorated function, their checks, and the configuration that they default to."""

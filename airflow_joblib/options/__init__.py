"""The options of one decorated function, their checks, and the configuration that they default to.

``options`` has the frozen record and the defaults of ``[joblib]``, ``checks`` what a value must be, ``backends`` one
record for each backend: no other module compares names of backends.

May import system and exceptions.
"""

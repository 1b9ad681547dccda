"""Modules of the user that travel with what refers to them: a DAG file, a module beside it.

``dependencies`` collects what the pickles of a run refer to, ``bytecode`` reads a function's imports, ``rebuilt`` makes
modules again in a worker.

May import ``by_value`` of the room above, never the pickler.
"""

"""The search for what cannot be pickled, by its path, and the way out.

``search`` looks through an object's ``parts``; ``explain`` begins at a function, arguments or items; ``advice`` has the
way out for each kind of culprit; ``elsewhere`` loads parts in a fresh process. Runs only after a check failed.

May import the pickler and what lies beside it, never the check.
"""

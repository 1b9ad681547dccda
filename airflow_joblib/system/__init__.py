"""What this process and its machine are like: CPUs, shared memory, folders, clocks, how processes are started.

Imports nothing of the other rooms but exceptions.
"""

"""What passes between a run and its workers: call, chunk, report, status board.

``records`` has the plain records, ``chunk`` the items of one dispatch with their pickle, ``pickled_call`` the function
with its shared arguments, ``status_board`` the shared memory in which workers note what they run.

May import pickling, checkpoint, options, system and exceptions.
"""

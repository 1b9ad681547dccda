"""What runs inside a worker: the loop over the items of a chunk, time limits, signals."""

"""The run: items, chunks, workers, results; its state, retries, resume and progress."""

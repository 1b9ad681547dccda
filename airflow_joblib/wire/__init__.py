"""What passes between a run and its workers: call, chunk, report, status board."""

"""What a running task gives a fan-out: XComs, checkpoints, termination, connections."""

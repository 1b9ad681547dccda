"""What a fan-out does on real clusters."""

"""What can be seen of a run, while it goes on and ever after: the record of it, its picture, and who writes it."""

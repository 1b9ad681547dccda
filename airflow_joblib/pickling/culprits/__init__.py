"""The search for what cannot be pickled, by its path, and the way out."""

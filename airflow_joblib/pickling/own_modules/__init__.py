"""Modules of the user that travel with what refers to them."""

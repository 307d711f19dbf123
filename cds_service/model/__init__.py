"""A released model and how it is asked."""

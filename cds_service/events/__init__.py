"""The log: one format, its writer and its readers."""

"""The chart, pure: no I/O."""

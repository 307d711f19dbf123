"""The only home of torch."""

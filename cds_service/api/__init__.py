"""Machines call it."""

"""Labelled cases, split by patient."""

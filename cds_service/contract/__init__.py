"""The CDS Hooks contract test, over HTTP only."""

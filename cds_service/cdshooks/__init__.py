"""The CDS Hooks protocol, no HTTP."""

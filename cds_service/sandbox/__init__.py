"""One process for trying: service, page, little R4 server."""

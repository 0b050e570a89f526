"""`POST /api/v1/track`: checks events and writes them to the buffer. The hot path of a web process."""

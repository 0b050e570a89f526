"""The documentation of the HTTP API: the OpenAPI document, and the page at `/docs` that is made from it."""

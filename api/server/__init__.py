"""The web server: uvicorn, with limits for slow and hostile connections, and an end that loses no request."""

"""Imports from a browser: an uploaded file is kept, read and sent like any producer's events, with its progress."""

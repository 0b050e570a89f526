"""A simulated company that sells a reporting tool, for a look at a service that is full of life."""

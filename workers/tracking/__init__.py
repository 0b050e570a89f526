"""The volume of an account's events, and outages of its tracking that would look like customers leaving."""

"""All that a producer or a person meets: HTTP, the dashboard, the command line, and `windback up`."""

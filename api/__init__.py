"""Everything that a producer or a person uses: HTTP, the dashboard, the command line, and `windback up`."""

"""`windback up`: everything on one machine, Postgres and Redis included, under a supervisor."""

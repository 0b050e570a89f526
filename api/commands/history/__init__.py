"""`windback import`: the command, its progress, and waiting for the scores."""

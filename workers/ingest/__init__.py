"""From the buffer into Postgres: a batch is decoded, inserted once, and acknowledged. Poison becomes dead letters."""

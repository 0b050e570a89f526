"""Files of history, as any tool exports them: reads lines, guesses columns, and turns rows into events."""

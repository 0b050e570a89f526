-- An address that was stated before the present one, and became known after it: the history is the user id's at both.
ALTER TABLE identities ADD COLUMN is_late boolean NOT NULL DEFAULT false;

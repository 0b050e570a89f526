-- A user id that comes to an address with a history of somebody else's has no part in it.
ALTER TABLE identities ADD COLUMN apart boolean NOT NULL DEFAULT false;

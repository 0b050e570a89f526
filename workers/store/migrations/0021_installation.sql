-- Which installation this is; Redis holds the same id, see workers/installation.py.
CREATE TABLE installation (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    installation_id uuid NOT NULL DEFAULT gen_random_uuid()
);

INSERT INTO installation DEFAULT VALUES;

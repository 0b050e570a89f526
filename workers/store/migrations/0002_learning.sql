ALTER TABLE models ADD COLUMN replaced integer;

CREATE TABLE trainings (
    account_id integer NOT NULL REFERENCES accounts,
    trained_at timestamptz NOT NULL DEFAULT now(),
    snapshots integer NOT NULL,
    card jsonb NOT NULL,
    PRIMARY KEY (account_id, trained_at)
);

CREATE TABLE matured (
    account_id integer NOT NULL REFERENCES accounts,
    day date NOT NULL,
    horizon_days integer NOT NULL,
    metrics jsonb NOT NULL,
    PRIMARY KEY (account_id, day)
);

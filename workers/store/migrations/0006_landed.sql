CREATE TABLE landed (
    lane text NOT NULL,
    entry_id text COLLATE "C" NOT NULL,
    beginning bytea NOT NULL,
    became jsonb NOT NULL,
    landed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lane, entry_id, beginning)
) WITH (autovacuum_vacuum_scale_factor = 0.05);

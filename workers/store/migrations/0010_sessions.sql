CREATE TABLE signing_secrets (
    name text PRIMARY KEY,
    secret bytea NOT NULL
);

CREATE TABLE ended_sessions (
    session_id text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

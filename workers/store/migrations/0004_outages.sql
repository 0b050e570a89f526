CREATE TABLE outages (
    account_id integer NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (account_id, began_at)
);

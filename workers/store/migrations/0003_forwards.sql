CREATE TABLE forwards (
    forward_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    cell integer NOT NULL,
    lane text NOT NULL,
    account_id integer NOT NULL,
    events integer NOT NULL,
    received_us bigint NOT NULL,
    body bytea NOT NULL
);

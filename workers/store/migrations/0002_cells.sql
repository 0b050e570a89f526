CREATE TABLE cells (
    number integer PRIMARY KEY,
    installation_id uuid NOT NULL
);

-- Whom to talk to first, and search. See schema.sql.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

ALTER TABLE customers
    ADD COLUMN last_active timestamptz,
    ADD COLUMN lapsed_at timestamptz,
    ADD COLUMN mrr bigint,
    ADD COLUMN currency text,
    ADD COLUMN company text,
    ADD COLUMN paid double precision,
    ADD COLUMN risk_before real;

ALTER TABLE customers
    ADD COLUMN risen real GENERATED ALWAYS AS (probability - risk_before) STORED,
    ADD COLUMN urgency real NOT NULL GENERATED ALWAYS AS (
        CASE WHEN level IS NULL OR state = 'lapsed' THEN 0
        ELSE probability * (0.5 + greatest(probability - coalesce(risk_before, probability), 0))
             * log(10 + greatest(coalesce(mrr::double precision / 100, paid, 0), 0)) END
    ) STORED;

CREATE INDEX customers_urgent ON customers (account_id, urgency, customer_id);
CREATE INDEX customers_risen ON customers (account_id, coalesce(risen, 0), customer_id);
CREATE INDEX customers_paying ON customers (account_id) WHERE mrr > 0;
CREATE INDEX customers_lapsed ON customers (account_id, lapsed_at) WHERE lapsed_at IS NOT NULL;

CREATE TABLE customer_search (
    customer_id uuid PRIMARY KEY,
    account_id integer NOT NULL,
    email text COLLATE "C" NOT NULL
);

CREATE INDEX customer_search_email ON customer_search USING gin (email gin_trgm_ops);

CREATE FUNCTION keep_customer_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM customer_search WHERE customer_id = OLD.customer_id;
    ELSE
        INSERT INTO customer_search (customer_id, account_id, email) VALUES (NEW.customer_id, NEW.account_id, NEW.email)
        ON CONFLICT (customer_id) DO UPDATE SET account_id = excluded.account_id, email = excluded.email;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_customer_search AFTER INSERT OR DELETE OR UPDATE OF account_id, email ON customers
FOR EACH ROW EXECUTE FUNCTION keep_customer_search();

INSERT INTO customer_search (customer_id, account_id, email) SELECT customer_id, account_id, email FROM customers;

-- What traits say of a customer, and the money at risk: of what is paid a month (minor units), the share of the risk.
ALTER TABLE customers
    ADD COLUMN name text,
    ADD COLUMN mrr_at_risk double precision NOT NULL GENERATED ALWAYS AS (coalesce(mrr, 0) * probability::double precision) STORED;

CREATE INDEX customers_money ON customers (account_id, mrr_at_risk, customer_id);
CREATE INDEX customers_company ON customers (account_id, company, customer_id) WHERE company IS NOT NULL;

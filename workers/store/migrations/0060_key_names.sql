-- A key may have a name: which one is the website's?
ALTER TABLE api_keys ADD COLUMN name text;

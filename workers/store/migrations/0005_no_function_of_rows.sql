-- A function of a table's whole rows isn't known where an extension keeps the table under another name.
DROP FUNCTION risk_then(customers, timestamptz);

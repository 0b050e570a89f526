-- The statements that write customers write customer_search as well: quicker than a trigger for each row, and an
-- extension that places tables on other servers takes no triggers.
DROP TRIGGER keep_customer_search ON customers;
DROP FUNCTION keep_customer_search();

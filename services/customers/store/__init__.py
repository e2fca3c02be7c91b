"""The tables of customers, their queries, and the ownership ledger."""

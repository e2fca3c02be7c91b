"""Who holds which unique key of the tenant: rules, reservations and their settling."""

"""The matching engine: which names, and which records, mean the same customer, and why.

Pure and synchronous. `normalise` takes a company name apart, `grams` finds what could match it, `similarity` compares
two names, `weights` adds up the evidence of all fields and explains it, `products` and `places` compare what is asked
for and where. Nothing here knows a table or a tenant's settings.
"""

"""Leads, their conversion to customer, contact and opportunity, and opportunities until they are won."""

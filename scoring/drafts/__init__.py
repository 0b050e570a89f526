"""Drafts of letters to customers at risk: a template, and facts about the customer."""

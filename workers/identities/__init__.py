"""Customers under several names: user ids, changes of address, and merges, within a cell and between cells."""

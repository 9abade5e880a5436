"""Rows that are read while a stage trains: in a known order, from any place on, in constant memory."""

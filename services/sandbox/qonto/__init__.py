"""Qonto: its OAuth host and the Business API v2."""

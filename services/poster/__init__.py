"""Carries decisions out in Qonto: mirror, ledger, posting, reviews."""

"""QuickBooks Online: Intuit's OAuth hosts and the accounting API v3, minor version 75."""

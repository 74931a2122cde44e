"""Stand-ins for QuickBooks Online and Qonto over loopback HTTP, for the demo, tests and staging."""

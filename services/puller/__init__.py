"""Everything between QuickBooks Online and the `record` subjects: OAuth, windows, markers, attachments."""

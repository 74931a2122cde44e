"""`weir score`: decisions on files, and how good they are."""

"""`python -m services.console`."""

from services.console.app import run

run()

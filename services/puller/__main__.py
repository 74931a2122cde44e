"""`python -m services.puller`."""

from services.puller.app import run

run()

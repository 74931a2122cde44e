"""`python -m services.sandbox`"""

from services.sandbox.app import run

run()

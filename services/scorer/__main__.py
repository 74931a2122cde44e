"""`python -m services.scorer`"""

from services.scorer.app import run

run()

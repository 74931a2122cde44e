"""`python -m services.sandbox`"""

from common.service import main
from services.sandbox.app import serve

if __name__ == "__main__":
    main("sandbox", serve)

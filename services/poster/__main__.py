"""`python -m services.poster`."""

from services.poster.app import run

if __name__ == "__main__":
    run()

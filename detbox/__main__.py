"""`python -m detbox COMMAND …`."""

from detbox.cli import main

if __name__ == "__main__":
    main()

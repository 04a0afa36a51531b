"""``python -m restante``."""

from restante.cli import main

if __name__ == "__main__":
    main()

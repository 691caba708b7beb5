"""``python -m mlgit``."""

from mlgit.cli.main import run

if __name__ == "__main__":
    run()

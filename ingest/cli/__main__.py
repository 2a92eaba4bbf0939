"""`ingest`, and `python -m ingest.cli`."""

from __future__ import annotations

from ingest.memory import importing


def main() -> None:
    """Run the command line and exit with its code."""
    with importing():
        from ingest.cli import app
    app.main()


if __name__ == "__main__":
    main()

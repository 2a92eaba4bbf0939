"""`python -m ingest.cli` is `ingest`."""

from ingest.cli.app import main

main()

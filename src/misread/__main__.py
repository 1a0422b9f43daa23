"""`python -m misread` is the `misread` command."""

from misread.cli.main import main

main()

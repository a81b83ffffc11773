"""`python -m cardd.cli`: the command line without its installed script."""

from cardd.cli import main

main()

"""`python -m rataccess`: the same as the `rataccess` command."""

from rataccess.cli import main

main()

"""``python -m tagformer``: the command line."""

from tagformer.cli import main

main()

"""``python -m tagformer``: the command line."""

from tagformer.cli.program import main

main()

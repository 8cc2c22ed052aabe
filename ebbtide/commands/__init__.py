"""One module per command: `add_parser(subparsers)` describes it, `run(args)` does it."""

"""The operator's command: `python -m consumer.cli COMMAND …`. `./run.sh cli COMMAND …` runs it on the embedded stack.

Exit status 0 done, 1 not all of it, 2 wrong usage or configuration, 130 interrupted.

To add a command: write a Click command in a module beside this one and add it to the line at the end of this page. Its
function returns an `Operation` (`consumer.cli.command`): what is to be done once the settings are read. Give it
`@json_option` and `epilog=examples(…)`.
"""

import sys

import click

from consumer.cli import dlq, reconcile_storage, replay
from consumer.cli.command import PROGRAM, examples, execute


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog=examples("dlq list images", "dlq redrive --help"),
)
def cli() -> None:
    """Operate the media service. Every command can be broken off and repeated.

    Exit status: 0 done; 1 not all of it, or a dependency is away; 2 wrong usage or configuration; 130 interrupted.
    """


for _command in (dlq.dlq, replay.replay, reconcile_storage.reconcile_storage):
    cli.add_command(_command)


def main(arguments: list[str], *, alias: str = "") -> int:
    """Run a command line; return the exit status. `alias` is the old name that somebody used for it."""
    if alias:
        click.echo(f"python -m {alias} is an old name, kept for one release: use {PROGRAM} {arguments[0]}", err=True)
    return execute(cli, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

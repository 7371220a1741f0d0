"""How every script of the project meets its user: one sentence for an error, and exit code 2."""

import argparse
import math
import os
import re
import signal
import sys


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


class ArgumentParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` that shows defaults and says what is wrong in one sentence, without the usage text."""

    def __init__(self, description):
        super().__init__(description=description, formatter_class=_HelpFormatter)

    def error(self, message):
        """Ends the process."""
        self.exit(2, f"{self.prog}: {message}\n")

    def with_flags(self, message):
        """What the library says of an argument such as `batch_size`, by the name that it has on the command line."""
        flags = {f"`{action.dest}`": action.option_strings[-1] for action in self._actions if action.option_strings}
        return re.sub("`\\w+`", lambda name: flags.get(name[0], name[0]), message)

    def typed(self, args=None):
        """What stands on the command line itself, without defaults: a dict."""
        unset = object()
        parsed = self.parse_args(args, namespace=argparse.Namespace(**{action.dest: unset for action in self._actions}))
        return {name: value for name, value in vars(parsed).items() if value is not unset}


def positive_integer(text):
    """The type of an argument that counts something.

    Args:
        text: What stands on the command line.

    Returns:
        An integer of 1 or more.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return int(text)


def non_negative_integer(text):
    """As `positive_integer`, with 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not an integer of 0 or more")
    return int(text)


def non_negative_number(text):
    """The type of an argument that is a finite number of 0 or more.

    Args:
        text: What stands on the command line.

    Returns:
        A float.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return number


def positive_number(text):
    """As `non_negative_number`, without 0."""
    if not (number := non_negative_number(text)):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def run(main, parser):
    """Calls `main` with the parsed command line and turns the user's mistakes into one sentence.

    Args:
        main: A function of the parsed arguments.
        parser: The script's `ArgumentParser`. `ValueError` and `OSError`, which is how the library reports a wrong
            value or file, end the process with exit code 2 and the message alone; any other exception is a bug of
            ours and keeps its traceback.
    """
    arguments = parser.parse_args()
    # Not every terminal has all letters, and what lacks one is no mistake.
    sys.stdout.reconfigure(errors="replace")
    try:
        main(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does. Python would try to write once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (ValueError, OSError) as error:
        # One sentence, even where a library breaks its own into lines.
        parser.error(parser.with_flags(" ".join(str(error).split())))
    except KeyboardInterrupt:
        sys.exit(130)


def print_table(headers, rows):
    """Prints a table. Its first column names the rows; the other columns hold figures.

    Args:
        headers: The columns' names.
        rows: A list with a list of cells for each row.
    """
    from rich.console import Console
    from rich.table import Column, Table

    name, *figures = headers
    table = Table(name, *(Column(figure, justify="right", overflow="fold") for figure in figures))
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)

"""How every script of the project meets its user: one sentence for an error, and exit code 2."""

import argparse
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


def run(main, parser):
    """Calls `main` with the parsed command line and turns the user's mistakes into one sentence.

    Args:
        main: A function of the parsed arguments.
        parser: The script's `ArgumentParser`. `ValueError` and `OSError`, which is how the library reports a wrong
            value or file, end the process with exit code 2 and the message alone; any other exception is a bug of
            ours and keeps its traceback.
    """
    arguments = parser.parse_args()
    try:
        main(arguments)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.exit(130)

"""How every script of the project meets its user: errors are one sentence with exit code 2, and logs stay away."""

import argparse
import functools
import importlib.abc
import math
import os
import platform
import re
import signal
import sys
import tempfile
import warnings

# TensorFlow's, XLA's and JAX's logs would stand between our lines. Scripts import this module before them. With 0 in
# the environment everything is shown.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow leaves oneDNN off on x86 processors without AVX512-VNNI, which train faster with it.
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


class _QuietTensorFlow(importlib.abc.MetaPathFinder):
    """Drops what TensorFlow writes to standard error while it is imported, unless the import fails.

    It writes from C++, before it looks at TF_CPP_MIN_LOG_LEVEL.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        if spec:
            spec.loader.exec_module = functools.partial(self._execute, spec.loader.exec_module)
        return spec

    def _execute(self, execute, module):
        terminal = os.dup(2)
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 2)
            try:
                execute(module)
            except BaseException:
                log.seek(0)
                os.write(terminal, log.read())
                raise
            finally:
                os.dup2(terminal, 2)
                os.close(terminal)


if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0":
    sys.meta_path.insert(0, _QuietTensorFlow())


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action):
        return action.help if action.default is None else super()._get_help_string(action)


class ArgumentParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` that shows defaults and says what is wrong in one sentence, without the usage text."""

    def __init__(self, description):
        super().__init__(description=description, formatter_class=_HelpFormatter)

    def error(self, message):
        """Ends the process."""
        self.exit(2, f"{self.prog}: {message}\n")

    def with_flags(self, message):
        """A message of the library with `batch_size` and the like replaced by their flags, such as --batch-size."""
        flags = {f"`{action.dest}`": action.option_strings[-1] for action in self._actions if action.option_strings}
        return re.sub("`\\w+`", lambda name: flags.get(name[0], name[0]), message)

    def typed(self, args=None):
        """What stands on the command line itself, without defaults: a dict."""
        unset = object()
        parsed = self.parse_args(args, namespace=argparse.Namespace(**{action.dest: unset for action in self._actions}))
        return {name: value for name, value in vars(parsed).items() if value is not unset}


def number(kind, smallest, description):
    """A type of arguments: finite numbers of a kind, from the smallest on."""

    def parsed(text):
        try:
            found = kind(text)
        except ValueError:
            found = math.nan
        if not smallest <= found < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not {description}")
        return found

    return parsed


positive_integer = number(int, 1, "a positive integer")
non_negative_integer = number(int, 0, "an integer of 0 or more")
non_negative_number = number(float, 0, "a number of 0 or more")


def run(main, parser):
    """Calls `main` with the parsed command line.

    A `ValueError` or `OSError`, with which the library reports a wrong value or file, ends the process with exit code 2
    and its message. Any other exception is a bug of ours and keeps its traceback.
    """
    arguments = parser.parse_args()
    # Not every terminal has all letters, and what lacks one is no mistake.
    sys.stdout.reconfigure(errors="replace")
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"
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
        if "--resume" in parser.format_usage():
            print("Stopped: --resume with the run directory goes on.")
        sys.exit(130)


def print_table(headers, rows):
    """Prints a table. Its first column names the rows; the other columns hold figures."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    name, *figures = headers
    table = Table(name, *(Column(figure, justify="right", overflow="fold") for figure in figures))
    for row in rows:
        # As text, because rich takes the class "cat [brown]" for markup.
        table.add_row(*(Text(str(cell)) for cell in row))
    Console().print(table)

"""Trains one network that holds several depths, and writes a run directory.

For example:

    python recipes/train.py --dataset digits --depths 18 34 50 --width 16
    python recipes/train.py --resume runs/digits_...
"""

from ddnn_keras.command_line import run
from ddnn_keras.runs.arguments import argument_parser

parser = argument_parser(__doc__)


def main(arguments):
    from ddnn_keras.runs import trainer  # not before: it takes seconds

    trainer.main(arguments, parser)


if __name__ == "__main__":
    run(main, parser)

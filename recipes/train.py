"""Trains one network that holds several depths, and writes a run directory.

For example:

    python recipes/train.py --dataset digits --depths 18 34 50 --width 16
    python recipes/train.py --resume runs/digits_...
"""

from ddnn_keras.runs.command import command

command(__doc__)

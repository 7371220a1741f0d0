"""ResNet-18/34/50 in one network on 1,797 handwritten digits: the demonstration.

    python recipes/digits.py

It takes about a minute on two cores of a CPU. `make demo` runs it, exports the network and shows the files.
"""

from ddnn_keras.runs.command import command

command(__doc__, dataset="digits", depths=[18, 34, 50], width=16, epochs=12, batch_size=64, learning_rate=0.05)

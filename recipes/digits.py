"""ResNet-18/34/50 in one network on 1,797 handwritten digits: the demonstration.

    python recipes/digits.py

Two cores of an AMD EPYC, 2026-11-29: 37 s of training. Test accuracy of one seed: 18 97.2 %, 34 97.8 %, 50 97.2 %.
`make demo` runs it, exports the network and shows the files.
"""

from ddnn_keras.runs.command import command

command(__doc__, dataset="digits", depths=[18, 34, 50], width=16, epochs=10, batch_size=64, learning_rate=0.05)

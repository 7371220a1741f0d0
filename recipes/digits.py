"""ResNet-18/34/50 in one network on 1,797 handwritten digits: the demonstration.

    python recipes/digits.py

Hardware: two cores of an AMD EPYC, no GPU. Time: 2 minutes. Accuracy (2026-11-23, one seed): 18 97.2 %, 34 96.7 %,
50 96.4 %.
"""

from ddnn_keras.runs.command import command

command(__doc__, dataset="digits", depths=[18, 34, 50], width=16, epochs=20, batch_size=64, learning_rate=0.05)

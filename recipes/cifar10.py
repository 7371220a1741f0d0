"""ResNet-18/34/50 in one network on CIFAR-10, with the field's usual schedule.

    python recipes/cifar10.py

Hardware: not yet measured. Time: not yet measured. Accuracy: not yet measured.
"""

import train

# 200 epochs, batches of 128, a peak of 0.1 and a penalty of 5e-4 are what the field trains this ResNet-18 with.
train.command(
    __doc__,
    dataset="cifar10",
    depths=[18, 34, 50],
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    warmup_epochs=5,
    weight_decay=5e-4,
)

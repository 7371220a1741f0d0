"""ResNet-18/34/50 in one network on CIFAR-100, with the field's usual schedule.

    python recipes/cifar100.py

Hardware: not yet measured. Time: not yet measured. Accuracy: not yet measured.
"""

import train

train.command(
    __doc__,
    dataset="cifar100",
    depths=[18, 34, 50],
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    warmup_epochs=5,
    weight_decay=5e-4,
)

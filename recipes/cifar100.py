"""ResNet-18/34/50 in one network on CIFAR-100, with the field's usual schedule.

    python recipes/cifar100.py

Not yet measured. Of the 50,000 training images 5,000 are held out for validation, as in the ResNet paper.
"""

from ddnn_keras.runs.command import command

command(__doc__, dataset="cifar100", epochs=200, batch_size=128, learning_rate=0.1, warmup_epochs=5)

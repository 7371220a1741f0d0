"""ResNet-18/34/50 in one network on CIFAR-10, with the field's usual schedule.

    python recipes/cifar10.py

Hardware: not yet measured. Time: not yet measured. Accuracy: not yet measured.
"""

import cifar_schedules
import train

train.command(__doc__, dataset="cifar10", **cifar_schedules.RESNET)

"""ResNet-20/32/44/56, the narrow ones made for CIFAR, in one network on CIFAR-10, with the field's usual schedule.

    python recipes/cifar10_resnet_cifar.py

Hardware: not yet measured. Time: not yet measured. Accuracy: not yet measured.
"""

import cifar_schedules
import train

train.command(__doc__, dataset="cifar10", **cifar_schedules.RESNET_CIFAR)

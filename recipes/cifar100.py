"""ResNet-18/34/50 in one network on CIFAR-100, with the field's usual schedule.

    python recipes/cifar100.py

Hardware: not yet measured. Time: not yet measured. Accuracy: not yet measured.
"""

from ddnn_keras.runs.command import command

# The field's usual schedule for CIFAR. As in the ResNet paper, a tenth of the training images is held out for
# validation: 45,000 are left. Most published figures are of networks trained on all 50,000.
command(
    __doc__,
    dataset="cifar100",
    depths=[18, 34, 50],
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    warmup_epochs=5,
    weight_decay=5e-4,
)

"""ResNet-20/32/44/56, the narrow ones made for CIFAR, in one network on CIFAR-10, with the field's usual schedule.

    python recipes/cifar10_resnet_cifar.py

Hardware: not yet measured. Time: not yet measured. Accuracy: not yet measured.
"""

from ddnn_keras.runs.command import command

# The field's usual schedule for CIFAR. As in the ResNet paper, a tenth of the training images is held out for
# validation: 45,000 are left. Most published figures are of networks trained on all 50,000.
# The paper makes 64,000 updates, which are 182 epochs; here 200, with a cosine instead of its steps.
command(
    __doc__,
    dataset="cifar10",
    backbone="resnet_cifar",
    depths=[20, 32, 44, 56],
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    warmup_epochs=5,
    weight_decay=1e-4,
)

"""The narrow ResNet-20/32/44/56 in one network on CIFAR-10, with the field's usual schedule.

    python recipes/cifar10_resnet_cifar.py                        # or with --dataset cifar100

Not yet measured. Of the 50,000 training images 5,000 are held out for validation, as in the ResNet paper. Its 64,000
updates are 182 epochs. Here the full-net is trained alone for 200, with a cosine instead of steps. Then all depths
start with its weights, and it teaches them for 100 epochs. In shorter trainings no depth lost in the mean by that, for
as much arithmetic as training each depth alone: recipes/results/full_net.
"""

from ddnn_keras.runs.command import command

command(
    __doc__,
    dataset="cifar10",
    backbone="resnet_cifar",
    depths=[20, 32, 44, 56],
    epochs=100,
    teacher_epochs=200,
    batch_size=128,
    learning_rate=0.1,
    warmup_epochs=5,
    weight_decay=1e-4,
)

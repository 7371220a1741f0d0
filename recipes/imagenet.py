"""ResNet-18/34/50 in one network on ImageNet at 224x224, with the field's usual schedule.

    python recipes/imagenet.py --manual-dir DIR

DIR holds ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, as TensorFlow Datasets wants them. A tenth of the
training images is held out for validation, and the usual validation images are the test split.

Not yet measured. Epochs, rate and decay are the ResNet paper's, with a cosine instead of steps.
"""

from ddnn_keras.runs.command import command

command(
    __doc__,
    dataset="imagenet2012",
    image_size=224,
    depths=[18, 34, 50],
    stem="imagenet",
    epochs=90,
    batch_size=256,
    learning_rate=0.1,
    warmup_epochs=5,
    weight_decay=1e-4,
)

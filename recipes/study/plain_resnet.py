"""The yardstick: a ResNet written with Keras alone and exported by Keras alone, to time a depth's file against.

For example:

    python recipes/study/plain_resnet.py --depth 18 --output plain_18.tflite
    python export/benchmark_tflite.py plain_18.tflite depth_18.tflite
"""

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.command_line import ArgumentParser, positive_integer, run

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3)}

parser = ArgumentParser(__doc__)
parser.add_argument("--depth", type=int, choices=BLOCKS, default=18, help="number of layers, in basic blocks")
parser.add_argument("--image-size", type=positive_integer, default=32, help="pixels of each side")
parser.add_argument("--channels", type=positive_integer, default=3, help="colours of a pixel")
parser.add_argument("--width", type=positive_integer, default=64, help="channels of the first stage")
parser.add_argument("--output", required=True, help="the .tflite file to write")


def main(arguments):
    """Builds and exports."""
    from ddnn_keras.tflite.convert import check_backend

    check_backend()
    if not arguments.output.endswith(".tflite"):
        raise ValueError(f"--output must end in .tflite. Received: {arguments.output}")
    shape = (arguments.image_size, arguments.image_size, arguments.channels)
    model = resnet(BLOCKS[arguments.depth], shape, arguments.width)
    with atomic_write(arguments.output) as temporary:
        model.export(temporary, format="litert", verbose=False)
    print(f"Wrote {arguments.output}: untrained, {model.count_params():,} parameters.")


def resnet(blocks, input_shape, width):
    """A ResNet of basic blocks with the stem of small images, for raw pixels."""
    from keras import Input, Model, layers

    def convolution(x, filters, kernel_size, strides=1):
        x = layers.Conv2D(filters, kernel_size, strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    image = Input(input_shape, batch_size=1)
    x = layers.ReLU()(convolution(layers.Rescaling(1 / 127.5, -1)(image), width, 3))
    for stage, count in enumerate(blocks):
        for index in range(count):
            filters, strides = width * 2**stage, 2 if stage and not index else 1
            shortcut = convolution(x, filters, 1, strides) if strides > 1 else x
            x = layers.ReLU()(convolution(x, filters, 3, strides))
            x = layers.ReLU()(layers.Add()([convolution(x, filters, 3), shortcut]))
    return Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


if __name__ == "__main__":
    run(main, parser)

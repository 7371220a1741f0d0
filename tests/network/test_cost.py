import keras

from ddnn_keras.network.cost import count_macs, count_parameters


def test_macs_of_convolutions_and_dense_layers_by_hand():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    assert count_macs(model) == 4 * 4 * (3 * 3 * 3 * 4) + 4 * 4 * (3 * 3 * 4) + 4 * 5
    assert count_parameters(model) == (3 * 3 * 3 * 4 + 4) + (3 * 3 * 4 + 4) + (4 + 4) + (4 * 5 + 5)

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, EKD
from ddnn_keras.distillation import kl_divergence

IMAGES = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1)).astype("float32")
LABELS = np.arange(8) % 3
# The deepest comes first in the alphabet.
DEPTHS = {"c": (1, 1, 1), "a": (1, 2, 1)}


def compiled(network=DDNN, **arguments):
    keras.utils.set_random_seed(0)
    model = network(DEPTHS, backbone="resnet_cifar", width=2, num_classes=3, input_shape=(16, 16, 1))
    settings = {"optimizer": "sgd", "metrics": ["accuracy"], "distillation": EKD(kl_weight=100.0), "jit_compile": False}
    model.compile(**{**settings, **arguments})
    return model


def history(model):
    return model.fit(IMAGES, LABELS, batch_size=4, shuffle=False, verbose=0).history


def png_files(size=16):
    """Images of which TensorFlow knows no size when it traces a step, as most pipelines have them before a resize."""
    import tensorflow as tf

    files = [tf.io.encode_png(image).numpy() for image in IMAGES[:, :size, :size].astype("uint8")]
    return tf.data.Dataset.from_tensor_slices((files, LABELS)).map(lambda file, label: (tf.io.decode_png(file), label))


@pytest.mark.parametrize(("attention", "jit_compile"), [("standardized", False), ("activation", True)])
def test_images_of_sizes_that_the_pipeline_leaves_open(attention, jit_compile):
    model = compiled(distillation=EKD(attention=attention), jit_compile=jit_compile)
    images = png_files().batch(4)
    wanted = model.evaluate(IMAGES.astype("uint8"), LABELS, batch_size=4, verbose=0)
    assert model.evaluate(images, verbose=0) == pytest.approx(wanted, rel=1e-5)
    if not jit_compile:  # for its time
        logs = model.fit(images, verbose=0).history
        assert np.isfinite(logs["loss"]) and logs["depth_c_attention_loss"][0] > 0


def test_images_of_another_size_are_refused_also_where_the_pipeline_leaves_it_open():
    with pytest.raises(Exception, match=r"\[4,8,8,1\] is not compatible with expected shape \[\?,16,16,1\]"):
        compiled(jit_compile=False).evaluate(png_files(size=8).batch(4), verbose=0)


def test_a_step_of_ones_own_distills():
    import tensorflow as tf

    class OwnStep(DDNN):
        """As in Keras' guide on `fit`."""

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(y=y, y_pred=y_pred)
            trained = self.trainable_weights
            self.optimizer.apply(tape.gradient(loss, trained), trained)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
            return self.compute_metrics(x, y, y_pred)

    wanted, found = history(compiled()), history(compiled(OwnStep))
    assert min(wanted["depth_c_kl_loss"]) > 0
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, rel=1e-5), name


def taught(**arguments):
    """A network, and the one that teaches all its depths, trained before."""
    teacher = DDNN({"a": (1, 2, 1)}, backbone="resnet_cifar", width=3, num_classes=3, input_shape=(16, 16, 1))
    teacher.compile("sgd", jit_compile=False)
    history(teacher)
    return compiled(distillation=EKD(teacher=teacher.subnet("a"), **arguments), run_eagerly=True), teacher


def test_a_network_that_was_trained_before_teaches_every_depth_and_stays_as_it_is():
    model, teacher = taught(attention_weight=0)
    before = teacher.get_weights()
    logits = {**model(IMAGES), "teacher": teacher(IMAGES)["depth_a"]}
    results = model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
    kl = {key: float(np.mean(kl_divergence(logits["teacher"], logits[key]))) for key in model.output_keys}
    assert {key: results[f"{key}_kl_loss"] for key in kl} == pytest.approx(kl, rel=1e-5)
    own = sum(results[f"{key}_loss"] for key in kl)
    assert results["loss"] == pytest.approx(own + sum(kl.values()), rel=1e-5)
    assert history(model)["depth_c_kl_loss"][0] > 0
    for weights, wanted in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weights, wanted)
    assert len(model.weights) == len(compiled().weights)


def test_a_file_does_not_hold_the_network_that_taught_and_fit_asks_for_it(tmp_path):
    model, teacher = taught()
    history(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    results = loaded.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
    assert "depth_c_accuracy" in results and "depth_c_kl_loss" not in results
    for train in (history, lambda network: network.compute_loss(IMAGES, LABELS, network(IMAGES, training=True))):
        with pytest.raises(ValueError, match=r"^`distillation` must be given again"):
            train(loaded)
    loaded.compile(loaded.optimizer, distillation=EKD(teacher=teacher.subnet("a")), run_eagerly=True)
    assert history(loaded)["loss"] == pytest.approx(history(model)["loss"], rel=1e-5)


def test_a_teacher_must_give_logits_of_the_same_classes():
    _, teacher = taught()
    with pytest.raises(ValueError, match=r"^`teacher` must give logits of 3 classes, as a network's `subnet` does"):
        history(compiled(distillation=EKD(teacher=teacher), run_eagerly=True))


def test_a_loop_of_ones_own_has_the_loss_of_evaluate():
    model = compiled()
    wanted = model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)["loss"]
    logits = model(IMAGES)
    assert float(model.compute_loss(IMAGES, LABELS, logits)) == pytest.approx(wanted, rel=1e-5)
    # Another network's calls are its own.
    compiled()(IMAGES[:4])
    assert float(model.compute_loss(IMAGES, LABELS, logits)) == pytest.approx(wanted, rel=1e-5)


def test_other_logits_than_the_latest_are_refused():
    model = compiled()
    # With JAX, Keras builds losses in the first call, on logits that need no features.
    model.evaluate(IMAGES, LABELS, verbose=0)
    logits = model(IMAGES)
    model(IMAGES[:4])
    with pytest.raises(ValueError, match=r"^`y_pred` must be what this network's latest call gave"):
        model.compute_loss(IMAGES, LABELS, logits)
    with pytest.raises(ValueError, match=r"^`y_pred` must be what this network's latest call gave"):
        model.compute_loss(IMAGES, LABELS, {key: 2 * values for key, values in model(IMAGES).items()})
    model.compile("sgd")
    assert float(model.compute_loss(IMAGES, LABELS, logits)) > 0


def test_what_keras_builds_itself_needs_no_features():
    assert history(compiled(loss="ce"))["depth_c_kl_loss"][0] > 0


def test_losses_and_metrics_of_ones_own_see_logits():
    seen = []

    class OwnLoss(DDNN):
        """With the arguments that Keras' docstrings have, and labels as `fit` gets them."""

        def compute_loss(self, x, y, y_pred, sample_weight, training=True):
            seen.append((type(y), sorted(y_pred)))
            return super().compute_loss(x, y, y_pred, sample_weight, training)

        def compute_metrics(self, x, y, y_pred, sample_weight):
            seen.append((type(y), sorted(y_pred)))
            return super().compute_metrics(x, y, y_pred, sample_weight)

    wanted, found = (history(compiled(network, run_eagerly=True)) for network in (DDNN, OwnLoss))
    assert {tuple(keys) for _, keys in seen} == {("depth_a", "depth_c")}
    assert dict not in {kind for kind, _ in seen}
    assert found == wanted

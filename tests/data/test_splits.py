import numpy as np
import pytest

from ddnn_keras.data.splits import hold_out_by_class

# 60 images of one class and few of others, in no order.
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3, 5], [60, 20, 3, 2, 1]))


@pytest.mark.parametrize(("fraction", "counts"), [(0.1, [6, 2, 1, 1]), (0.5, [30, 10, 2, 1]), (0.99, [59, 19, 2, 1])])
def test_each_class_gives_the_same_part_and_keeps_an_image(fraction, counts):
    kept, held_out = hold_out_by_class(LABELS, fraction, seed=1)
    assert sorted([*kept, *held_out]) == list(range(len(LABELS)))
    assert np.bincount(LABELS[held_out]).tolist() == counts
    assert set(LABELS[kept]) == set(LABELS)


def test_there_is_nothing_to_hold_out():
    with pytest.raises(ValueError, match=r"^No class has an image that can be held out: one must have 2, .*\.$"):
        hold_out_by_class(np.arange(5), 0.2, seed=0)

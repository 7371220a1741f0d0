"""Runs of images that are others by now are neither gone on with nor exported: these may have been learned."""

import pytest


@pytest.mark.parametrize(
    "command",
    [
        ["recipes/train.py", "--resume"],
        ["recipes/finetune_qat.py", "--run"],
        ["export/to_tflite.py", "--depth", 18, "--model"],
    ],
    ids=lambda command: command[0],
)
def test_a_run_whose_images_are_others_by_now(command, copied_run, mistake):
    run = copied_run(lambda config: config["num_images"].update(train=1292))
    sentence = mistake(*command, run / "model.keras" if "--model" in command else run)
    assert f"{run} was trained on images whose num_images was {{'train': 1292," in sentence
    assert "Now it is {'train': 1293," in sentence
    assert not (run / "tflite").exists()

"""export/web_page.py and its page, in a real browser: headless Chromium runs every depth of a bundle."""

import functools
import http.server
import os
import shutil
import threading

import keras
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from small_networks import converted, export_bundle, held_out

from ddnn_keras.runtime.image_file import read_image
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.metadata import write_metadata
from ddnn_keras.runtime.runtime import softmax

SCRIPT = "export/web_page.py"
SECONDS = 120  # until the page must have answered, on a busy machine
LABELS = [f"digit {digit}" for digit in range(10)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle that takes bytes, and a sample beside it."""
    folder = tmp_path_factory.mktemp("web")
    export_bundle(folder / "bundle_int8_uint8.tflite", crop_pct=0.875, io_dtype="uint8")
    keras.utils.save_img(folder / "sample_digit.png", held_out()[0][0], scale=False)
    return folder


@pytest.fixture(scope="module")
def page(folder, script):
    """A browser with the page, ready, and the server that it comes from. Without a browser, tests are skipped."""
    there = shutil.which("chromedriver") and (ROOT / "export/web/node_modules").is_dir()
    if not there and "DDNN_KERAS_TEST_BROWSER" not in os.environ:
        pytest.skip("needs chromium, chromium-driver and npm install --prefix export/web")
    script(SCRIPT, folder / "bundle_int8_uint8.tflite", "--output", folder / "site")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder / "site")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=800,700"):
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options, service) as browser:
        browser.get(f"http://127.0.0.1:{server.server_port}/")
        wait(browser, answered)
        yield browser
    server.shutdown()


def answered(browser):
    """The depth that the answer on the page is of, or `None` while there is none."""
    return browser.execute_script("return document.body.dataset.answered")


def wait(browser, condition):
    """What a condition gives as soon as it holds."""
    return WebDriverWait(browser, SECONDS).until(condition)


def answer_after(browser, action):
    """What the page says after an action: the depth, and the first class with its probability."""
    browser.execute_script("delete document.body.dataset.answered")
    action()
    depth = wait(browser, answered)
    label, _, probability = browser.execute_script(
        "return [...document.querySelector('#classes li').children].map(part => part.textContent)"
    )
    assert browser.find_element("id", "label").text == label
    return depth, label, float(probability.removesuffix(" %")) / 100


def test_the_slider_moves_between_the_depths(page, folder):
    assert "2 networks in one file" in page.find_element("id", "file").text
    sample, slider = page.find_element("id", "sample"), page.find_element("id", "depth")
    answers = [answer_after(page, sample.click), answer_after(page, lambda: slider.send_keys(Keys.ARROW_LEFT))]
    for depth, (found, label, probability) in zip((14, 8), answers):
        network = LiteModel(folder / "bundle_int8_uint8.tflite", f"depth_{depth}")
        probabilities = softmax(network(np.rint(held_out()[0][:1])))[0]
        assert found == str(depth)
        assert label == LABELS[probabilities.argmax()]
        assert probability == pytest.approx(probabilities.max(), abs=0.05)
    assert float(page.find_element("id", "latency").text.split()[0]) > 0


def test_an_image_of_the_networks_size_is_answered_as_on_other_devices(page, folder, tmp_path):
    """To the pixel: it must not be resized to what people see, and back."""
    for number, image in enumerate(held_out()[0][:4]):
        keras.utils.save_img(tmp_path / f"{number}.png", image, scale=False)
        depth, label, probability = choose(page, tmp_path / f"{number}.png")
        network = LiteModel(folder / "bundle_int8_uint8.tflite", f"depth_{depth}")
        probabilities = softmax(network(np.rint(image)[np.newaxis]))[0]
        # The page shows tenths of a percent.
        assert probability == pytest.approx(probabilities[LABELS.index(label)], abs=0.002)


def choose(browser, path):
    """What the page says of an image file."""
    return answer_after(browser, lambda: browser.find_element("id", "chosen").send_keys(str(path)))


@pytest.mark.parametrize("size", [(512, 256), (4096, 2048)], ids=["small", "of a camera"])
def test_a_photo_is_shown_as_in_evaluation(size, page, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (4, 8), np.uint8)
    Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR).save(tmp_path / "photo.png")
    choose(page, tmp_path / "photo.png")
    canvas = page.execute_script(
        "return [...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 288, 288).data]"
    )
    shown = np.reshape(canvas, (288, 288, 4))[..., :1]
    as_evaluated, whole = (read_image(tmp_path / "photo.png", (288, 288, 1), crop_pct) for crop_pct in (0.875, 1))
    assert np.abs(shown - as_evaluated).mean() < 3 < 6 < np.abs(shown - whole).mean()


def test_the_same_file_again_in_the_place_of_what_was_drawn(page, tmp_path):
    image = np.zeros((64, 64, 4), "uint8")
    image[16:48, 24:40] = 255  # and transparent around
    Image.fromarray(image).save(tmp_path / "bar.png")
    page.find_element("id", "clear").click()
    first = choose(page, tmp_path / "bar.png")
    # Places are relative to the drawing's centre.
    stroke, canvas = ActionChains(page), page.find_element("id", "drawing")
    stroke.move_to_element_with_offset(canvas, -100, 0).click_and_hold()
    stroke.move_to_element_with_offset(canvas, 100, 0).release()
    assert answer_after(page, stroke.perform) != first
    assert choose(page, tmp_path / "bar.png") == first


def test_a_stroke_begins_where_the_pointer_is_pressed(page):
    """Pressed outside, it draws nothing: there is no place yet where a line could come from."""
    answer_after(page, page.find_element("id", "clear").click)
    canvas, heading = page.find_element("id", "drawing"), page.find_element("tag name", "h1")
    drag = ActionChains(page).move_to_element(heading).click_and_hold().move_to_element(canvas).move_by_offset(50, 50)
    drag.release().perform()
    drawn = "return document.querySelector('canvas').getContext('2d').getImageData(0, 0, 288, 288).data.some("
    assert not page.execute_script(drawn + "(value, index) => index % 4 < 3 && value > 0)")


def test_a_file_that_is_no_image_is_named(page, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    page.find_element("id", "chosen").send_keys(str(tmp_path / "text.png"))
    error = page.find_element("id", "error")
    assert wait(page, lambda _: error.text) == "That is no image this browser can show."
    answer_after(page, page.find_element("id", "sample").click)
    assert not error.is_displayed()


def test_it_asks_nothing_of_other_addresses(page):
    origin = page.execute_script("return location.origin")
    loaded = page.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert any(address.endswith("bundle.tflite") for address in loaded)
    assert all(address.startswith((origin, "data:", "blob:")) for address in loaded)


def test_of_questions_asked_in_a_row_only_the_last_one_is_answered(page):
    """Moving the slider quickly must not mix answers up."""
    page.execute_async_script(
        """
        const done = arguments[0], slider = document.getElementById("depth");
        delete document.body.dataset.answered;
        window.seen = [];
        const see = () => window.seen.push(document.body.dataset.answered ?? "none");
        new MutationObserver(see).observe(document.body, {attributes: true});
        const ask = async () => {
            for (const value of [1, 0, 1, 0, 1, 0]) {
                slider.value = value;
                slider.dispatchEvent(new Event("input"));
                // Each question begins before the next one comes.
                for (let turn = 0; turn < 4; turn++) await null;
            }
            done();
        };
        ask();
        """
    )
    assert wait(page, answered) == "8"
    assert set(page.execute_script("return window.seen")) - {"none"} == {"8"}


def test_a_damaged_bundle_is_refused(page, folder):
    """Last in the browser: it leaves the page."""
    path = folder / "site" / "bundle.tflite"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    page.refresh()
    error = wait(page, lambda page: page.find_element("id", "error").text)
    assert error == "bundle.tflite is damaged: its digest is not that of its content."
    assert answered(page) is None


def test_files_that_the_page_cannot_show(mistake, tmp_path):
    image = {"input": {"dtype": "float32", "shape": [1, 16, 8, 1]}}
    oblong = {"depths": {"serving_default": {"depth": 8}}, "signatures": {"serving_default": image}}
    for facts, sentence in [({}, "which names its depths."), (oblong, "must take square images, grey or in colour.")]:
        (tmp_path / "net.tflite").write_bytes(write_metadata(converted("none"), facts))
        assert sentence in mistake(SCRIPT, tmp_path / "net.tflite", "--output", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_mistakes(folder, bundle, mistake, tmp_path):
    assert "which takes int8" in mistake(SCRIPT, bundle, "--output", tmp_path / "site")
    assert "gone.tflite" in mistake(SCRIPT, tmp_path / "gone.tflite")
    if not (ROOT / "export/web/node_modules").is_dir():
        assert "npm install" in mistake(SCRIPT, folder / "bundle_int8_uint8.tflite")
        return
    file = folder / "bundle_int8_uint8.tflite"
    assert "must be a new folder" in mistake(SCRIPT, file, "--output", tmp_path)
    shutil.copyfile(file, tmp_path / "alone.tflite")
    assert "--sample must be given" in mistake(SCRIPT, tmp_path / "alone.tflite", "--output", tmp_path / "site")
    assert "none.png" in mistake(SCRIPT, file, "--output", tmp_path / "site", "--sample", tmp_path / "none.png")
    assert not (tmp_path / "site").exists()

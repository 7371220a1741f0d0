// Runs a bundle's depths on an image that is drawn or chosen. bundle.json is the description that the export wrote.

import {Tensor, loadAndCompile, loadLiteRt} from "@litertjs/core";

const WARM_UP = 3;
const TIMED = 15; // a browser's clock is coarse, so it takes the mean over these
const AT_MOST = 200; // milliseconds after which a slow network is not run again
const SHOWN = 3; // classes
const DIGITS = 64; // of the digest at the file's end: ddnn_keras/runtime/digest.py

const element = (id) => document.getElementById(id);

class Bundle {
  static async load() {
    await loadLiteRt("./runtime/wasm/");
    const [file, description] = await Promise.all([fetch("./bundle.tflite"), fetch("./bundle.json")]);
    const content = new Uint8Array(await file.arrayBuffer());
    const facts = await description.json();
    // Browsers compute digests on https and localhost alone.
    if (facts.digest && crypto.subtle) await checkDigest(content);
    return new Bundle(await loadAndCompile(content, {accelerator: "wasm"}), facts, content.length);
  }

  constructor(model, facts, size) {
    Object.assign(this, {model, facts, size});
    this.signatures = Object.keys(facts.depths);
    const [, height, width, channels] = this.input(this.signatures[0]).shape;
    Object.assign(this, {height, width, channels});
  }

  input(signature) {
    return this.facts.signatures[signature].input;
  }

  depth(signature) {
    return this.facts.depths[signature].depth;
  }

  // Probabilities, and the mean time of a run in milliseconds, for pixels 0..255.
  async classify(signature, pixels) {
    const {dtype, shape} = this.input(signature);
    const image = new Tensor(dtype === "uint8" ? Uint8Array.from(pixels) : Float32Array.from(pixels), shape);
    let logits;
    const meanOf = async (most) => {
      const start = performance.now();
      let count = 0;
      do {
        logits?.delete();
        ({logits} = await this.model.run(signature, {image}));
        count++;
      } while (count < most && performance.now() - start < AT_MOST);
      return (performance.now() - start) / count;
    };
    await meanOf(WARM_UP);
    const milliseconds = await meanOf(TIMED);
    const probabilities = softmax(this.decoded(signature, logits.toTypedArray()));
    image.delete();
    logits.delete();
    return {probabilities, milliseconds};
  }

  // Integers stand for real numbers on a scale that the description tells.
  decoded(signature, values) {
    const {scale, zero_point: zero} = this.facts.signatures[signature].output;
    return Array.from(values, (value) => (scale === null ? value : (value - zero) * scale));
  }
}

async function checkDigest(content) {
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", content.subarray(0, -DIGITS)));
  const digits = Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (digits !== new TextDecoder().decode(content.subarray(-DIGITS))) {
    throw new Error("bundle.tflite is damaged: its digest is not that of its content.");
  }
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

class Page {
  constructor(bundle) {
    this.bundle = bundle;
    this.canvas = element("drawing");
    this.context = this.canvas.getContext("2d", {willReadFrequently: true});
    this.small = new OffscreenCanvas(bundle.width, bundle.height).getContext("2d", {willReadFrequently: true});
    this.shown = null; // the image on the canvas, until something is drawn there
    this.loading = null; // the image that comes there when it is decoded, unless something else comes before it
    this.slider = element("depth");
    this.asked = 0;
    this.strokes = new Map(); // of each pointer that draws, where it is
  }

  start() {
    this.slider.max = this.bundle.signatures.length - 1;
    this.slider.value = this.slider.max;
    this.slider.disabled = false;
    element("depths").replaceChildren(...this.bundle.signatures.map((name) => textIn("span", this.bundle.depth(name))));
    this.slider.addEventListener("input", () => this.answer());
    element("clear").addEventListener("click", () => this.clear());
    element("sample").addEventListener("click", () => this.show("./sample.png"));
    element("chosen").addEventListener("change", ({target}) => target.files[0] && this.chosen(target));
    this.listenToPen();
    this.clear();
  }

  listenToPen() {
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.strokes.set(event.pointerId, [event.offsetX, event.offsetY]);
      this.stroke(event);
    });
    this.canvas.addEventListener("pointermove", (event) => this.strokes.has(event.pointerId) && this.stroke(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, ({pointerId}) => this.strokes.delete(pointerId) && this.answer());
    }
  }

  stroke({pointerId, offsetX, offsetY}) {
    this.shown = this.loading = null;
    Object.assign(this.context, {strokeStyle: "white", lineWidth: this.canvas.width / 9, lineCap: "round"});
    this.context.beginPath();
    this.context.moveTo(...this.strokes.get(pointerId));
    this.context.lineTo(offsetX, offsetY);
    this.context.stroke();
    this.strokes.set(pointerId, [offsetX, offsetY]);
  }

  clear() {
    this.shown = this.loading = null;
    fill(this.context);
    return this.answer();
  }

  async chosen(input) {
    const address = URL.createObjectURL(input.files[0]);
    input.value = ""; // or the same file could not be chosen again
    try {
      await this.show(address);
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  async show(address) {
    const image = (this.loading = new Image());
    image.src = address;
    try {
      await image.decode();
    } catch {
      throw new Error("That is no image this browser can show.");
    }
    if (this.loading !== image) return;
    this.shown = image;
    this.drawCentre(image, this.context);
    await this.answer();
  }

  // The centre of an image, as much of it as evaluation shows; of one of the network's size the whole.
  drawCentre(image, context) {
    const {width, height} = context.canvas;
    const isWhole = image.width === this.bundle.width && image.height === this.bundle.height;
    const cropPct = isWhole ? 1 : this.bundle.facts.crop_pct;
    const scale = Math.max(width / image.width, height / image.height) / cropPct;
    const [drawnWidth, drawnHeight] = [image.width * scale, image.height * scale];
    fill(context); // for images that are transparent somewhere
    // Enlarged, people see pixels, and the network what bilinear interpolation makes of them, as in evaluation.
    context.imageSmoothingEnabled = scale < 1 || context === this.small;
    context.imageSmoothingQuality = scale < 1 ? "high" : "low";
    context.drawImage(halved(image, scale), (width - drawnWidth) / 2, (height - drawnHeight) / 2, drawnWidth, drawnHeight);
  }

  // Pixels at the network's size, 0..255, channels last.
  pixels() {
    const {width, height, channels} = this.bundle;
    if (this.shown) {
      // Not from the canvas, whose size is another: an image would be resized twice.
      this.drawCentre(this.shown, this.small);
    } else {
      this.small.imageSmoothingEnabled = true;
      this.small.imageSmoothingQuality = "high";
      this.small.drawImage(halved(this.canvas, width / this.canvas.width), 0, 0, width, height);
    }
    const {data} = this.small.getImageData(0, 0, width, height);
    const pixels = [];
    for (let index = 0; index < data.length; index += 4) {
      const [red, green, blue] = data.subarray(index, index + 3);
      // The weights of ITU-R 601, as Pillow's.
      pixels.push(...(channels === 1 ? [Math.round(0.299 * red + 0.587 * green + 0.114 * blue)] : [red, green, blue]));
    }
    return pixels;
  }

  // One question at a time, so that none is timed while another runs; of those that wait, only the last is answered.
  async answer() {
    const asked = ++this.asked;
    await this.answering?.catch(() => {}); // whoever asked that complains
    if (asked !== this.asked) return;
    const signature = this.bundle.signatures[this.slider.value];
    this.answering = this.bundle.classify(signature, this.pixels());
    const {probabilities, milliseconds} = await this.answering;
    if (asked === this.asked) this.print(signature, probabilities, milliseconds);
  }

  print(signature, probabilities, milliseconds) {
    element("error").hidden = true;
    const best = probabilities.map((_, index) => index).sort((a, b) => probabilities[b] - probabilities[a]);
    const label = (index) => this.bundle.facts.labels[index];
    element("depth-name").textContent = this.bundle.depth(signature);
    element("label").textContent = label(best[0]);
    element("latency").textContent = `${milliseconds.toFixed(2)} ms per image in this browser`;
    element("classes").replaceChildren(...best.slice(0, SHOWN).map((index) => row(label(index), probabilities[index])));
    // For whoever looks on: the answer on the page is that of this depth.
    document.body.dataset.answered = `${this.bundle.depth(signature)}`;
  }
}

// An image of about twice the size that is wanted at most. Firefox skips pixels where it reduces an image by more.
function halved(image, scale) {
  for (; scale < 0.5; scale *= 2) {
    const half = new OffscreenCanvas(Math.ceil(image.width / 2), Math.ceil(image.height / 2)).getContext("2d");
    half.drawImage(image, 0, 0, half.canvas.width, half.canvas.height);
    image = half.canvas;
  }
  return image;
}

function fill(context) {
  context.fillStyle = "black";
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
}

function row(label, probability) {
  const item = document.createElement("li");
  const meter = document.createElement("meter");
  meter.value = probability;
  item.append(textIn("span", label), meter, textIn("span", `${(100 * probability).toFixed(1)} %`));
  return item;
}

function textIn(tag, text) {
  const found = document.createElement(tag);
  found.textContent = text;
  return found;
}

function complain(error) {
  element("error").textContent = error.message ?? String(error);
  element("error").hidden = false;
}

window.addEventListener("unhandledrejection", (event) => complain(event.reason));

try {
  const bundle = await Bundle.load();
  element("file").textContent =
    `${bundle.signatures.length} networks in one file of ${(bundle.size / 1e6).toFixed(2)} MB. Draw, or choose an image.`;
  new Page(bundle).start();
} catch (error) {
  element("file").textContent = "";
  complain(error);
}

// Bits and scales to choose: what becomes of a layer's weights, and of the captions.

const BITS = [8, 7, 6, 5, 4, 3, 2], KINDS = ["tensor", "channel"], BINS = 60;

// To the nearest whole number; a half goes to the even neighbour.
function nearest(x) {
  const low = Math.floor(x), part = x - low;
  if (part !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

// Weights (rows of numbers) in a symmetric scheme: the values after it, the relative error, and the codes used in a row.
function outcome({ weights, bits, perChannel }) {
  const low = -(2 ** (bits - 1)), high = -low - 1, half = (high - low) / 2;
  const reach = (numbers) => Math.max(...numbers.map(Math.abs));
  const all = reach(weights.flat());
  const used = [], values = [];
  let lost = 0, whole = 0;
  for (const row of weights) {
    const scale = Math.max((perChannel ? reach(row) : all) / half, 2 ** -23), codes = new Set();
    for (const x of row) {
      const code = clamp(nearest(x / scale), low, high);
      codes.add(code);
      values.push(code * scale);
      lost += (code * scale - x) ** 2;
      whole += x ** 2;
    }
    used.push(codes.size);
  }
  return { values, error: Math.sqrt(lost / whole), used: used.reduce((a, b) => a + b, 0) / used.length };
}

// How many of some numbers fall into each of the bins from low to high.
function histogram(values, low, high) {
  const counts = range(BINS).map(() => 0);
  for (const x of values) counts[clamp(Math.floor(((x - low) / (high - low)) * BINS), 0, BINS - 1)] += 1;
  return counts;
}

function inWords({ weights, settings, texts }, bits, perChannel, picture) {
  const { error, used } = outcome({ weights, bits, perChannel }), setting = settings[`${bits} ${KINDS[+perChannel]}`];
  const same = setting.texts[picture] === texts[picture] ? "the same sentence as the whole captioner" : "another sentence than the whole captioner";
  return `${bits} bits, one scale a ${perChannel ? "channel" : "tensor"}: the layer's error is ${write(100 * error, 1)} %, a channel uses ` +
    `${write(used, 0)} of ${2 ** bits} codes. The captioner takes ${write(setting.bytes / 1e6, 2)} MB and writes ${same}: “${setting.texts[picture]}”.`;
}

function drawHistogram(weights, values) {
  const flat = weights.flat(), low = Math.min(...flat), high = Math.max(...flat);
  const before = histogram(flat, low, high), after = histogram(values, low, high);
  const width = 640, height = 190, floor = height - 26, top = Math.log(1 + Math.max(...before, ...after));
  const tall = (n) => ((floor - 8) * Math.log(1 + n)) / top, wide = width / BINS;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, style: "max-width: 640px", "aria-hidden": "true" });
  before.forEach((n, i) => svg.append(make("rect", { x: i * wide, y: floor - tall(n), width: wide, height: tall(n), style: "fill: var(--grey)", "fill-opacity": 0.35 })));
  after.forEach((n, i) => svg.append(make("rect", { x: i * wide + 2, y: floor - tall(n), width: wide - 4, height: tall(n), style: "fill: var(--orange)" })));
  svg.append(make("line", { x1: 0, x2: width, y1: floor, y2: floor, stroke: "var(--ink)" }));
  [[low, 0, "start"], [0, (width * -low) / (high - low), "middle"], [high, width, "end"]].forEach(([x, at, anchor]) =>
    svg.append(make("text", { x: at, y: height - 6, "text-anchor": anchor }, write(x, 2))));
  return svg;
}

function render({ model, el }) {
  const state = {};
  for (const name of ["layer", "weights", "settings", "pictures", "texts"]) state[name] = model.get(name);
  const card = newCard(el, "Bits and scales");
  let bits = 8, perChannel = false, picture = 0;
  const place = make("div", { class: "mm-wide" });
  const some = newChoice("Bits", BITS.map(String), 0, (i) => { bits = BITS[i]; draw(); });
  const scales = newChoice("Scales", ["one a tensor", "one a channel"], 0, (i) => { perChannel = i === 1; draw(); });
  const images = state.pictures.map((src, i) => make("img", { src, alt: state.texts[i] }));
  const chosen = newChoice("Picture", images, 0, (i) => { picture = i; draw(); });
  const title = (text, ...rest) => make("div", { class: "mm-row" }, make("span", { class: "mm-note" }, text), ...rest);
  card.body.append(
    make("div", { class: "mm-wide" }, title("Bits:", some.box), title("Scales:", scales.box), title("Picture:", chosen.box)), place,
    make("p", { class: "mm-note mm-wide" }, `The weights of ${state.layer}: grey as trained, orange as quantised; the heights are logarithmic. ` +
      "The captions are those with all layers at that setting."));

  function draw() {
    place.replaceChildren(drawHistogram(state.weights, outcome({ weights: state.weights, bits, perChannel }).values));
    card.say(inWords(state, bits, perChannel, picture));
  }
  draw();
}

export { nearest, outcome, inWords };
export default { render };

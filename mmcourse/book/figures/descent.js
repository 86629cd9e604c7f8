// Gradient descent on the loss of a line through points. The reader moves the two weights, chooses a rate, and steps.

const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;

// The mean squared error of the line y = w x + b, and its derivatives by w and by b.
function lossAt(x, y, [w, b]) {
  const errors = x.map((one, i) => w * one + b - y[i]);
  const gradient = [2 * mean(errors.map((error, i) => error * x[i])), 2 * mean(errors)];
  return { loss: mean(errors.map((error) => error * error)), gradient };
}

// One step against the gradient.
function descend(x, y, place, rate) {
  const { gradient } = lossAt(x, y, place);
  return place.map((weight, i) => weight - rate * gradient[i]);
}

// The loss is a bowl: its bottom, how much it bends where it is steepest and where it is flattest (the eigenvalues of its
// second derivatives), and the angle of the steepest direction.
function bowl(x, y) {
  const [a, c, d] = [2 * mean(x.map((one) => one * one)), 2 * mean(x), 2];
  const [p, q] = [2 * mean(x.map((one, i) => one * y[i])), 2 * mean(y)];
  const area = a * d - c * c;
  const bottom = [(p * d - c * q) / area, (a * q - c * p) / area];
  const middle = (a + d) / 2, half = Math.hypot((a - d) / 2, c);
  return { bottom, bends: [middle + half, area / (middle + half)], angle: Math.atan2(2 * c, a - d) / 2 };
}

const SIDE = 320, MIDDLE = SIDE / 2; // of each picture, in pixels
const LONGEST = 200; // steps that are kept
const FARTHEST = 1e6; // where we stop to follow

function render({ model, el }) {
  const [x, y, start] = ["x", "y", "start"].map((name) => model.get(name));
  const { bottom, bends, angle } = bowl(x, y), lowest = lossAt(x, y, bottom).loss, limit = 2 / bends[0];
  const reach = 2 * Math.max(...start.map((weight, i) => Math.abs(weight - bottom[i])), 0.5);
  const unit = MIDDLE / reach, card = newCard(el, "Gradient descent on the loss of a line");
  const digits = Math.max(0, 2 - Math.floor(Math.log10(limit)) - 1), least = 10 ** -digits;
  let rate = +(limit / 4).toFixed(digits), trail = [start];
  const here = () => trail[trail.length - 1];
  const place = ([w, b]) => [MIDDLE + (w - bottom[0]) * unit, MIDDLE - (b - bottom[1]) * unit];

  // Left, the landscape: lines of equal loss around its bottom, the steps, and where we are.
  const drop = lossAt(x, y, start).loss - lowest, unitDrop = drop > 1e-6 * bends[0] ? drop : bends[0] / 2;
  const levels = [0.04, 0.16, 0.36, 0.64, 1, 1.44, 2.56, 4].map((part) => part * unitDrop);
  const turn = `translate(${MIDDLE} ${MIDDLE}) rotate(${-angle * 180 / Math.PI})`;
  const rings = levels.map((above) => {
    const [rx, ry] = bends.map((bend) => Math.sqrt(2 * above / bend) * unit);
    const half = (to) => `A${rx} ${ry} 0 1 0 ${to} 0`;
    return make("path", { d: `M${-rx} 0${half(rx)}${half(-rx)}`, transform: turn, fill: "none", stroke: "#9cc4e4" });
  });
  const path = make("path", { fill: "none", stroke: "var(--orange)", "stroke-width": 1.5 });
  const dots = make("g", { fill: "var(--orange)" });
  const tip = make("g", { class: "mm-tip", role: "slider", tabindex: 0, "aria-label": "weights w and b" },
    make("circle", { r: 16, fill: "transparent" }), make("circle", { r: 7, fill: "var(--ink)" }));
  const mark = (at, text, anchor = "start") => make("text", { x: at[0], y: at[1], class: "mm-mark", "text-anchor": anchor }, text);
  const land = make("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "group", "aria-label": "the loss over both weights" },
    ...rings, make("path", { d: `M${MIDDLE - 5} ${MIDDLE}h10M${MIDDLE} ${MIDDLE - 5}v10`, stroke: "var(--ink)" }),
    path, dots, tip, mark([SIDE - 8, SIDE - 8], "w →", "end"), mark([8, 18], "↑ b"));

  // Right, the line among its points.
  const [xs, ys] = [x, y].map((all) => [Math.min(...all), Math.max(...all)]);
  const wide = (xs[1] - xs[0]) * 1.4, high = (ys[1] - ys[0] || 1) * 2.4;
  const across = (one) => MIDDLE + (one - (xs[0] + xs[1]) / 2) * SIDE / wide;
  const up = (one) => clamp(MIDDLE - (one - (ys[0] + ys[1]) / 2) * SIDE / high, -1e4, 1e4);
  const line = make("path", { stroke: "var(--blue)", "stroke-width": 2.5 });
  const misses = make("path", { stroke: "var(--grey)", "stroke-dasharray": "4 3" });
  const plot = make("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img" }, misses, line,
    ...x.map((one, i) => make("circle", { cx: across(one), cy: up(y[i]), r: 5, fill: "var(--ink)" })));

  const slider = newSlider("Learning rate", { min: least, max: +(1.25 * limit).toFixed(digits), step: least, value: rate,
    words: (value) => write(value, digits) }, (value) => { rate = value; draw(); });
  const go = (count) => () => {
    for (let i = 0; i < count && Math.hypot(...here()) < FARTHEST && trail.length <= LONGEST; i++)
      trail.push(descend(x, y, here(), rate));
    draw();
  };
  const again = () => { trail = [start]; draw(); };
  const titled = (title, ...parts) => make("div", {}, make("p", { class: "mm-title" }, title), ...parts);
  card.body.append(
    make("div", { class: "mm-wide" }, slider.box, make("div", { class: "mm-row" },
      newButton("One step", go(1)), newButton("Ten steps", go(10)), newButton("Start again", again))),
    titled("Loss", land), titled("Line", plot),
    make("p", { class: "mm-note mm-wide" }, "Each ring is a line of equal loss; the cross is the bottom. Drag the dark dot, " +
      "or reach it with the tab key and press the arrow keys (with shift: farther)."));

  const move = (w, b) => {
    trail = [[clamp(w, bottom[0] - reach, bottom[0] + reach), clamp(b, bottom[1] - reach, bottom[1] + reach)]];
    draw();
  };
  onDrag(tip, land, (right, down) => move(bottom[0] + (right - MIDDLE) / unit, bottom[1] + (MIDDLE - down) / unit));
  onArrowKeys(tip, (right, high) => move(here()[0] + right * reach / 30, here()[1] + high * reach / 30));

  function inWords() {
    const steps = trail.length - 1, [w, b] = here(), { loss } = lossAt(x, y, here());
    const shown = loss < 1e4 ? write(loss, 3) : loss.toExponential(1);
    const [steep, flat] = bends.map((bend) => 1 - rate * bend);
    const now = `After ${steps} step${steps === 1 ? "" : "s"} w is ${write(w)}, b is ${write(b)} and the loss ${shown}; ` +
      `at the bottom it is ${write(lowest, 3)}. `;
    const shares = `One step at this rate leaves ${write(steep)} of the way to the bottom where the bowl is steepest, ` +
      `and ${write(flat)} where it is flattest: `;
    if (steep < -1) return now + shares + "too large, each step across overshoots by more than the last.";
    if (steep < 0) return now + shares + "it overshoots the bottom, and still comes nearer.";
    return now + shares + (flat > 0.95 ? "safe, and slow." : "it comes down without overshooting.");
  }

  function draw() {
    const points = trail.map(place), [w, b] = here(), [px, py] = points[points.length - 1];
    set(path, { d: points.map((point, i) => `${i ? "L" : "M"}${point.map((one) => clamp(one, -1e4, 1e4)).join(" ")}`).join("") });
    dots.replaceChildren(...points.slice(0, -1).map(([cx, cy]) => make("circle", { cx: clamp(cx, -1e4, 1e4), cy: clamp(cy, -1e4, 1e4), r: 3 })));
    set(tip, { transform: `translate(${clamp(px, -1e4, 1e4)} ${clamp(py, -1e4, 1e4)})`, "aria-valuemin": bottom[0] - reach,
               "aria-valuemax": bottom[0] + reach, "aria-valuenow": w, "aria-valuetext": `w ${write(w)}, b ${write(b)}` });
    const ends = [xs[0] - wide / 2, xs[1] + wide / 2];
    set(line, { d: ends.map((one, i) => `${i ? "L" : "M"}${across(one)} ${up(w * one + b)}`).join("") });
    set(misses, { d: x.map((one, i) => `M${across(one)} ${up(y[i])}V${up(w * one + b)}`).join("") });
    set(plot, { "aria-label": `The line ${write(w)} x + ${write(b)} among ${x.length} points` });
    card.say(inWords());
  }
  draw();
}

export { bowl, descend, lossAt };
export default { render };

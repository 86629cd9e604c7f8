// What every figure shares. Python puts this text before the figure's own, so its names are simply there.

const DRAWN = "svg g path line rect circle text title defs pattern image polygon".split(" ");

// A new element: make("p", { class: "note" }, "text or other elements"). Attributes that begin with "on" are listeners.
function make(tag, attributes = {}, ...children) {
  const space = DRAWN.includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
}

const dot = (a, b) => a.reduce((total, x, i) => total + x * b[i], 0);
const range = (n) => Array.from({ length: n }, (_, i) => i);
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const write = (x, digits = 2) => x.toFixed(digits).replace(/^-(0\.?0*)$/, "$1"); // never "-0.00"

// Scores to weights. A hidden score is -Infinity; where all are hidden, all weights are 0.
function softmax(scores) {
  const top = Math.max(...scores);
  if (top === -Infinity) return scores.map(() => 0);
  const powers = scores.map((z) => Math.exp(z - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}

// The colour of a weight, as in the book's heat maps: 0 is white, 1 is dark.
const STOPS = [[255, 255, 255], [156, 196, 228], [33, 102, 165], [11, 37, 69]];
function shade(weight) {
  const place = clamp(weight, 0, 1) * 3, i = Math.min(2, Math.floor(place)), part = place - i;
  return `rgb(${STOPS[i].map((low, c) => Math.round(low + part * (STOPS[i + 1][c] - low))).join(", ")})`;
}
const inkOn = (weight) => (weight > 0.5 ? "var(--paper)" : "var(--ink)");

// -1 is blue, 0 white, 1 red.
function tint(value) {
  const end = value < 0 ? [33, 102, 165] : [178, 36, 51], part = Math.abs(clamp(value, -1, 1));
  return `rgb(${end.map((c) => Math.round(255 + part * (c - 255))).join(", ")})`;
}

const EVEN = { "vector-effect": "non-scaling-stroke" }; // lines as wide on a large picture as on a small one
const FRAME = { fill: "none", stroke: "var(--orange)", "stroke-width": 3, ...EVEN };

const HUES = ["orange", "blue", "teal", "pink", "gold"].map((name) => `var(--${name})`);
const hue = (i) => HUES[i % HUES.length];

// The white card, with a sentence below that says the result in words, also to a screen reader.
// Give it the root element and what the figure is called; put the rest into card.body, and call card.say(sentence).
function newCard(el, name) {
  const body = make("div", { class: "mm-body" });
  const sentence = make("p", { class: "mm-say", role: "status", "aria-live": "polite" });
  el.replaceChildren(make("section", { class: "mm-figure", "aria-label": name }, body, sentence));
  return { body, say: (text) => { if (sentence.textContent !== text) sentence.textContent = text; } };
}

// A slider with its name and value on a line of their own. words(value) is what is shown and read out.
function newSlider(name, { min, max, step = 1, value, words = String }, onChange) {
  const input = make("input", { type: "range", min, max, step, value, "aria-label": name });
  const shown = make("b");
  const show = () => {
    shown.textContent = words(+input.value);
    set(input, { "aria-valuetext": shown.textContent });
  };
  input.addEventListener("input", () => { show(); onChange(+input.value); });
  show();
  const box = make("label", { class: "mm-slider" }, make("span", {}, `${name}: `, shown), input);
  return { box, set: (x) => { input.value = x; show(); } };
}

// A switch that is on or off.
function newSwitch(name, checked, onChange) {
  const input = make("input", { type: "checkbox", onchange: () => onChange(input.checked) });
  input.checked = checked;
  return { box: make("label", { class: "mm-switch" }, input, " " + name), set: (on) => { input.checked = on; } };
}

const newButton = (name, onClick) => make("button", { type: "button", class: "mm-button", onclick: onClick }, name);

// Buttons of which one is chosen: tab reaches that one, arrow keys choose another. Labels are texts or elements.
function newChoice(name, labels, chosen, onChoose) {
  const box = make("div", { class: "mm-choice", role: "radiogroup", "aria-label": name });
  const mark = (now) => {
    chosen = now;
    buttons.forEach((button, i) => set(button, { "aria-checked": i === now, tabindex: i === now ? 0 : -1 }));
  };
  const choose = (i) => { if (i !== chosen) { mark(i); onChoose(i); } };
  const buttons = labels.map((label, i) =>
    make("button", { type: "button", role: "radio", class: "mm-button", onclick: () => choose(i) }, label));
  onArrowKeys(box, (right, up) => {
    choose(clamp(chosen + right - up, 0, labels.length - 1));
    buttons[chosen].focus();
  }, 1);
  box.append(...buttons);
  mark(chosen);
  return { box, buttons, choose };
}

// Calls onMove(x, y), in the units of the svg's viewBox, while the handle is dragged by mouse, pen or finger.
function onDrag(handle, svg, onMove) {
  const move = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    onMove(point.x, point.y);
  };
  // A finger on the handle moves it, and elsewhere scrolls the page. (CSS's touch-action does nothing on parts of an SVG.)
  handle.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
    handle.addEventListener("pointermove", move);
    const stop = () => handle.removeEventListener("pointermove", move);
    handle.addEventListener("pointerup", stop, { once: true });
    handle.addEventListener("pointercancel", stop, { once: true });
  });
}

// Calls onStep(right, up), each -1, 0 or 1, for an arrow key. With shift the step is `far` times as long.
function onArrowKeys(element, onStep, far = 5) {
  const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  element.addEventListener("keydown", (event) => {
    if (!steps[event.key]) return;
    event.preventDefault();
    onStep(...steps[event.key].map((x) => x * (event.shiftKey ? far : 1)));
  });
}

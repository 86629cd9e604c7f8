// One query and some keys as arrows in the plane. The reader moves them and sees scores, weights and output.

// Scaled dot-product attention for one query. The plane shows d_k = 2. A wider query and key have, typically, a dot
// product that is sqrt(d_k / 2) times as large, so that is what `width` does to the one that we see.
function attend({ query, key, value, width = 2, scaled = true }) {
  const products = key.map((k) => Math.sqrt(width / 2) * dot(query, k));
  const scores = products.map((product) => (scaled ? product / Math.sqrt(width) : product));
  const weights = softmax(scores);
  const output = value[0].map((_, j) => dot(weights, value.map((v) => v[j])));
  return { products, scores, weights, output };
}

const SIDE = 320, MIDDLE = SIDE / 2; // of the plane, in pixels
const FEW = 12; // up to here every key has a name and a place in the order of the tab key

// The first four numbers of a vector, as text.
const vector = (numbers, show = write) =>
  `(${numbers.slice(0, 4).map((x) => show(x)).join(", ")}${numbers.length > 4 ? ", …" : ""})`;

function inWords({ weights, output }, names) {
  const top = Math.max(...weights), low = Math.min(...weights);
  const first = names.filter((_, s) => weights[s] > top - 0.005).map((name) => `“${name}”`);
  const result = ` The output is ${vector(output)}.`;
  if (names.length === 1) return "There is one key, so it has all the weight, whatever the query." + result;
  if (top - low < 0.005) return "All keys have the same weight: the output is the mean of the values." + result;
  if (top > 0.99) return `Nearly all the weight is on ${first[0]}: the softmax is saturated.` + result;
  if (first.length > 3) return `${first.length} keys share the largest weight, ${write(top)} each.` + result;
  if (first.length > 1) return `${first.join(" and ")} have the largest weight, ${write(top)} each.` + result;
  return `${first[0]} has the largest weight, ${write(top)}.` + result;
}

// An arrow from the middle, whose tip can be dragged or moved by the arrow keys. Place: pixels, y down.
function newArrow(svg, name, colour, reachable) {
  const shaft = make("line", { x1: MIDDLE, y1: MIDDLE, stroke: colour, "stroke-linecap": "round" });
  const head = make("path", { d: "M3 0 L-11 6 L-11 -6 Z", fill: colour });
  const touch = make("circle", { r: 16, fill: "transparent" });
  const place = { class: "mm-halo", "text-anchor": "middle", dy: "0.35em" };
  const label = make("text", { ...place, style: `fill: ${colour}` }, name);
  const tip = make("g", { class: "mm-tip", role: "slider", "aria-label": `tip of the arrow ${name}` }, head, touch);
  if (reachable) set(tip, { tabindex: 0 });
  svg.append(shaft, tip);
  return { shaft, head, touch, label, tip, name };
}

function moveArrow({ shaft, head, touch, tip }, { x, y }, [right, up], reach, width) {
  const turn = (Math.atan2(y - MIDDLE, x - MIDDLE) * 180) / Math.PI;
  set(shaft, { x2: x, y2: y, "stroke-width": width });
  set(head, { transform: `translate(${x} ${y}) rotate(${turn})` });
  set(touch, { cx: x, cy: y });
  set(tip, { "aria-valuemin": -reach, "aria-valuemax": reach, "aria-valuenow": right,
             "aria-valuetext": `${write(right)} to the right, ${write(up)} up` });
}

// A key's name stands beyond its tip; the query's name where it is farthest from the names and arrows of the keys.
function placeNames(query, keys, places, at) {
  const along = ({ x, y }) => { // the direction of an arrow
    const long = Math.hypot(x - MIDDLE, y - MIDDLE) || 1;
    return { right: (x - MIDDLE) / long, down: (y - MIDDLE) / long };
  };
  const inside = (x, y) => ({ x: clamp(x, 24, SIDE - 24), y: clamp(y, 10, SIDE - 10) });
  const beyond = (place, far) => inside(place.x + far * along(place).right, place.y + far * along(place).down);
  const half = (place) => ({ x: (place.x + MIDDLE) / 2, y: (place.y + MIDDLE) / 2 });
  const beside = (place, side) =>
    inside(half(place).x - 26 * side * along(place).down, half(place).y + 18 * side * along(place).right);
  const taken = places.flatMap((place) => [beyond(place, 20), place, half(place)]);
  const room = (place) => Math.min(...taken.map((other) => Math.hypot(other.x - place.x, other.y - place.y)));
  keys.forEach((key, s) => set(key.label, beyond(places[s], 20)));
  const choices = [beside(at, 1), beside(at, -1), beyond(at, 28)];
  set(query.label, choices.reduce((best, choice) => (room(choice) > room(best) ? choice : best)));
}

function render({ model, el }) {
  const [value, names] = [model.get("value"), model.get("names")];
  const start = () =>
    ({ query: [...model.get("query")], key: model.get("key").map((k) => [...k]), width: 2, scaled: true });
  let state = start();
  const reach = 2 * Math.max(...[state.query, ...state.key].flat().map(Math.abs)) || 1;
  const card = newCard(el, "Attention as arrows in the plane");
  model.on("change", () => render({ model, el }));

  // The plane
  const unit = (MIDDLE - 8) / reach, far = reach / 2;
  const [right, up, label] = [MIDDLE + far * unit, MIDDLE - far * unit, String(+far.toPrecision(2))];
  const svg = make("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "group", "aria-label": "the plane with the arrows" },
    make("path", { d: `M0 ${MIDDLE}H${SIDE}M${MIDDLE} 0V${SIDE}`, stroke: "#d1d5db" }),
    make("path", { d: `M${right} ${MIDDLE - 4}v8M${MIDDLE - 4} ${up}h8`, stroke: "var(--grey)" }),
    make("text", { x: right, y: MIDDLE + 18, class: "mm-mark", "text-anchor": "middle" }, label),
    make("text", { x: MIDDLE - 8, y: up + 4, class: "mm-mark", "text-anchor": "end" }, label));
  const keys = names.map((name, s) => newArrow(svg, name, hue(s), names.length <= FEW));
  const query = newArrow(svg, "query", "var(--ink)", true);
  if (names.length <= FEW) svg.append(...keys.map((key) => key.label));
  svg.append(query.label);
  const place = ([right, up]) => ({ x: MIDDLE + right * unit, y: MIDDLE - up * unit });

  // The numbers
  const head = (text) => make("th", { scope: "col" }, text);
  const rows = names.map((name, s) => {
    const [product, score, weight] = [make("td"), make("td"), make("td")];
    const bar = make("div", { class: "mm-bar", style: `background: ${hue(s)}` });
    const colour = make("span", { style: `color: ${hue(s)}`, "aria-hidden": "true" }, "■ ");
    const key = make("th", { scope: "row" }, colour, name);
    return { product, score, weight, bar, row: make("tr", {}, key, product, score, weight, make("td", {}, bar)) };
  });
  const scoreName = head("");
  const table = make("table", {},
    make("thead", {}, make("tr", {}, head("key"), head("q·k"), scoreName, head("weight"),
      make("td", { class: "mm-bars" }))),
    make("tbody", {}, ...rows.map(({ row }) => row)));
  const parts = rows.map((_, s) => make("span", { style: `background: ${hue(s)}` }));
  const mix = make("div", { class: "mm-mix", "aria-hidden": "true" }, ...parts);
  const sum = make("p", { class: "mm-sum" });

  const width = newSlider("width dₖ", { min: 0, max: 5, value: 0, words: (i) => String(2 * 4 ** i) },
    (i) => { state.width = 2 * 4 ** i; draw(); });
  const scale = newSwitch("divide by √dₖ", true, (on) => { state.scaled = on; draw(); });
  const again = newButton("Start again", () => { state = start(); width.set(0); scale.set(true); draw(); });
  const help = "Drag a tip, or reach it with the tab key and press the arrow keys (with shift: farther).";
  const list = make("div", { class: "mm-scroll", ...(names.length > FEW && { tabindex: 0 }) }, table);
  card.body.append(
    make("div", {}, svg, make("p", { class: "mm-note" }, help)),
    make("div", {}, width.box, scale.box, list, mix, sum, again));

  function draw() {
    const { products, scores, weights, output } = attend({ ...state, value });
    const places = state.key.map(place), at = place(state.query);
    keys.forEach((key, s) => moveArrow(key, places[s], state.key[s], reach, 2 + 6 * weights[s]));
    moveArrow(query, at, state.query, reach, 3);
    placeNames(query, keys, places, at);
    scoreName.textContent = state.scaled ? "q·k\u00a0/\u00a0√dₖ" : "undivided";
    rows.forEach((row, s) => {
      row.product.textContent = write(products[s]);
      row.score.textContent = write(scores[s]);
      row.weight.textContent = write(weights[s]);
      row.bar.style.width = parts[s].style.width = `${100 * weights[s]}%`;
    });
    const terms = value.map((v, s) => `${write(weights[s])} · ${vector(v, (x) => +x.toFixed(2))}`).join(" + ");
    sum.textContent = `output = ${names.length <= 6 ? `${terms} = ` : ""}${vector(output)}`;
    card.say(inWords({ weights, output }, names));
  }

  [[query, () => state.query], ...keys.map((key, s) => [key, () => state.key[s]])].forEach(([arrow, numbers]) => {
    const move = (right, up) => {
      numbers().splice(0, 2, clamp(right, -reach, reach), clamp(up, -reach, reach));
      draw();
    };
    onDrag(arrow.tip, svg, (x, y) => move((x - MIDDLE) / unit, (MIDDLE - y) / unit));
    onArrowKeys(arrow.tip, (right, up) => move(numbers()[0] + (right * reach) / 40, numbers()[1] + (up * reach) / 40));
  });
  draw();
}

export { attend, shade };
export default { render };

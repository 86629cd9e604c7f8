// A query and a key, pair by pair, turned by their positions: their product knows the distance only.

// Numbers i and i + half are a pair, as in mmcourse.gpt.rotate.
const pairsOf = (vector) => range(vector.length / 2).map((i) => [vector[i], vector[i + vector.length / 2]]);

function turned([x, y], angle) {
  return [x * Math.cos(angle) - y * Math.sin(angle), y * Math.cos(angle) + x * Math.sin(angle)];
}

// The product of each pair, of a query at position m and a key at position n.
function products(query, key, frequencies, m, n) {
  const asks = pairsOf(query), answers = pairsOf(key);
  return frequencies.map((turn, i) => dot(turned(asks[i], m * turn), turned(answers[i], n * turn)));
}

const sum = (list) => list.reduce((a, b) => a + b, 0);
const SIDE = 120, MIDDLE = SIDE / 2, LAST = 32;

function arrow([x, y], scale, colour, name) {
  const tip = [MIDDLE + scale * x, MIDDLE - scale * y];
  const line = make("line", { x1: MIDDLE, y1: MIDDLE, x2: tip[0], y2: tip[1], stroke: colour, "stroke-width": 3 });
  const text = make("text", { x: tip[0] + 4, y: tip[1] - 3, class: "mm-halo", style: `fill: ${colour}` }, name);
  return make("g", {}, line, make("circle", { cx: tip[0], cy: tip[1], r: 4, fill: colour }), text);
}

function render({ model, el }) {
  const query = model.get("query"), key = model.get("key"), frequencies = model.get("frequencies");
  const card = newCard(el, "Rotary positions");
  const longest = Math.max(...[...pairsOf(query), ...pairsOf(key)].map(([x, y]) => Math.hypot(x, y)));
  const scale = 42 / (longest || 1);
  let m = 9, n = 4;

  const positions = { min: 0, max: LAST };
  const first = newSlider("Position of the query", { ...positions, value: m }, (x) => { m = x; show(); });
  const second = newSlider("Position of the key", { ...positions, value: n }, (x) => { n = x; show(); });
  const move = (by) => {
    if (Math.min(m, n) + by < 0 || Math.max(m, n) + by > LAST) return;
    m += by; n += by;
    first.set(m); second.set(n); show();
  };
  const buttons = make("div", { class: "mm-row" }, newButton("Both one back", () => move(-1)),
    newButton("Both one on", () => move(1)));
  const circles = make("div", { class: "mm-pair" }), table = make("table");
  const curve = make("div");
  card.body.append(make("div", { class: "mm-wide" }, circles), make("div", {}, first.box, second.box, buttons),
    make("div", {}, table), make("div", { class: "mm-wide" }, curve));
  show();

  function circle(i) {
    const svg = make("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img",
      "aria-label": `Pair ${i + 1}: the query and the key after their turns` });
    svg.append(make("circle", { cx: MIDDLE, cy: MIDDLE, r: 42, fill: "none", stroke: "var(--grey)", "stroke-dasharray": "2 4" }),
      arrow(turned(pairsOf(key)[i], n * frequencies[i]), scale, "var(--orange)", "k"),
      arrow(turned(pairsOf(query)[i], m * frequencies[i]), scale, "var(--blue)", "q"));
    return make("div", {}, make("p", { class: "mm-note" }, `pair ${i + 1}: ${write(frequencies[i], 2)} rad`), svg);
  }

  // The product for every distance, and where we are.
  function plot() {
    const width = 460, height = 110, all = range(2 * LAST + 1).map((i) => sum(products(query, key, frequencies, i - LAST, 0)));
    const top = Math.max(...all.map(Math.abs)) || 1;
    const x = (distance) => 20 + (width - 40) * (distance + LAST) / (2 * LAST), y = (value) => height / 2 - 8 - 38 * value / top;
    const path = all.map((value, i) => `${i ? "L" : "M"}${write(x(i - LAST), 1)} ${write(y(value), 1)}`).join("");
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "The product for each distance" });
    svg.append(make("line", { x1: 20, x2: width - 20, y1: y(0), y2: y(0), stroke: "var(--grey)" }),
      make("path", { d: path, fill: "none", stroke: "var(--teal)", "stroke-width": 2 }),
      make("circle", { cx: x(m - n), cy: y(all[m - n + LAST]), r: 5, fill: "var(--ink)" }),
      make("text", { x: width / 2, y: height - 3, "text-anchor": "middle" }, "distance m − n, from −32 to 32"));
    return svg;
  }

  function show() {
    const each = products(query, key, frequencies, m, n);
    circles.replaceChildren(...frequencies.map((_, i) => circle(i)));
    const row = (name, value) => make("tr", {}, make("th", {}, name), make("td", {}, write(value)));
    table.replaceChildren(...each.map((value, i) => row(`pair ${i + 1}`, value)), row("product q · k", sum(each)));
    curve.replaceChildren(plot());
    card.say(`Query at position ${m}, key at ${n}: distance ${m - n}, product ${write(sum(each))}.`);
  }
}

export { products, turned };
export default { render };

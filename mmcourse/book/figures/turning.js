// A cloud of pictures is turned upon a cloud of texts: how alike are the clouds, and how many find their own?

// Points, mirrored at the horizontal axis if asked, then turned to the left.
function turned(points, degrees, mirror = false) {
  const angle = degrees * Math.PI / 180, [c, s] = [Math.cos(angle), Math.sin(angle)];
  return points.map(([x, y0]) => { const y = mirror ? -y0 : y0; return [c * x - s * y, s * x + c * y]; });
}

const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
const between = (x, y) => x.reduce((sum, a) => sum + y.reduce((part, b) => part + apart(a, b), 0), 0) / (x.length * y.length);

// The energy distance of two clouds.
const unlike = (x, y) => 2 * between(x, y) - between(x, x) - between(y, y);

// The share of the points of x whose own point of y is the nearest.
function found(x, y) {
  const right = x.filter((a, i) => y.every((b, j) => j === i || apart(a, y[i]) <= apart(a, b)));
  return right.length / x.length;
}

// Procrustes in the plane: how the first pairs of x must be turned, and whether mirrored, to lie nearest to those of y.
function bestTurn(x, y, count) {
  const best = [false, true].map((mirror) => {
    let [along, across] = [0, 0];
    turned(x.slice(0, count), 0, mirror).forEach(([a, b], i) => {
      along += a * y[i][0] + b * y[i][1];
      across += a * y[i][1] - b * y[i][0];
    });
    return { mirror, degrees: (Math.atan2(across, along) * 180 / Math.PI + 360) % 360, gain: Math.hypot(along, across) };
  });
  return best[1].gain > best[0].gain + 1e-9 ? best[1] : best[0];
}

function render({ model, el }) {
  const [names, pictures, texts] = ["names", "pictures", "texts"].map((name) => model.get(name));
  let degrees = model.get("degrees"), mirror = false, which = 0, count = 2, joined = true;
  const n = pictures[0].length, card = newCard(el, "A cloud of pictures turned upon a cloud of texts");
  const reaches = pictures.map((points, i) => 1.15 * Math.max(1e-9, ...[...points, ...texts[i]].map(([x, y]) => Math.hypot(x, y))));
  const SIDE = 300, place = ([x, y]) => [SIDE / 2 * (1 + x / reaches[which]), SIDE / 2 * (1 - y / reaches[which])];
  const WIDE = 360, HIGH = 110, LEFT = 8;

  const choice = newChoice("cloud", names, 0, (i) => { which = i; curves(); show(); });
  const turn = newSlider("pictures turned by", { min: 0, max: 359, value: degrees, words: (x) => `${x}°` },
    (x) => { degrees = x; show(); });
  const flip = newSwitch("pictures mirrored", false, (on) => { mirror = on; curves(); show(); });
  const lines = newSwitch("lines between pairs", true, (on) => { joined = on; show(); });
  const pairs = newSlider("pairs known", { min: 1, max: n, value: count }, (x) => { count = x; show(); });
  const solve = newButton("Turn by Procrustes", () => {
    const best = bestTurn(pictures[which], texts[which], count);
    [degrees, mirror] = [Math.round(best.degrees) % 360, best.mirror];
    turn.set(degrees);
    flip.set(mirror);
    curves();
    show();
  });
  const plane = make("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", "aria-label": "both clouds" });
  const [bars, hits, mark] = [0, 1, 2].map(() => make("path", { fill: "none", "stroke-width": 1.8, ...EVEN }));
  set(bars, { stroke: "var(--orange)", "stroke-dasharray": "5 3" });
  set(hits, { stroke: "var(--blue)" });
  set(mark, { stroke: "var(--ink)" });
  const chart = make("svg", { viewBox: `0 0 ${WIDE + 2 * LEFT} ${HIGH + 24}`, role: "img", "aria-label": "both measures against the angle", style: "max-width: 500px" },
    make("path", { d: `M${LEFT} ${HIGH}h${WIDE}`, stroke: "var(--grey)" }), bars, hits, mark,
    ...[0, 90, 180, 270, 360].map((x) => make("text", { x: LEFT + x, y: HIGH + 17, class: "mm-mark",
      "text-anchor": x === 0 ? "start" : x === 360 ? "end" : "middle" }, `${x}°`)));
  const note = make("p", { class: "mm-note" },
    "Circles are pictures, squares are texts. Below, for every angle: dashed, how unlike the clouds are; solid, how many find their own.");
  card.body.append(make("div", { class: "mm-wide" }, choice.box), make("div", {}, plane),
    make("div", {}, turn.box, flip.box, lines.box, pairs.box, solve), make("div", { class: "mm-wide" }, chart, note));

  function curves() {
    const angles = range(121).map((i) => 3 * i), clouds = angles.map((angle) => turned(pictures[which], angle, mirror));
    const far = clouds.map((cloud) => unlike(cloud, texts[which])), most = Math.max(...far, 1e-9);
    const path = (values) => values.map((value, i) => `${i ? "L" : "M"}${LEFT + angles[i]} ${HIGH - (HIGH - 8) * value}`).join("");
    set(bars, { d: path(far.map((value) => value / most)) });
    set(hits, { d: path(clouds.map((cloud) => found(cloud, texts[which]))) });
  }

  function show() {
    const cloud = turned(pictures[which], degrees, mirror), own = texts[which];
    set(mark, { d: `M${LEFT + degrees} 0V${HIGH}` });
    const known = (i) => i < count;
    plane.replaceChildren(
      ...(joined ? range(n).map((i) => {
        const [[x1, y1], [x2, y2]] = [place(cloud[i]), place(own[i])];
        return make("line", { x1, y1, x2, y2, stroke: "var(--grey)", "stroke-width": known(i) ? 2 : 0.7 });
      }) : []),
      ...own.map((point) => { const [x, y] = place(point); return make("rect", { x: x - 5, y: y - 5, width: 10, height: 10, fill: "none", stroke: "var(--orange)", "stroke-width": 2 }); }),
      ...cloud.map((point) => { const [cx, cy] = place(point); return make("circle", { cx, cy, r: 3.5, fill: "var(--blue)" }); }));
    const right = Math.round(n * found(cloud, own));
    card.say(`Turned by ${degrees}°${mirror ? ", mirrored" : ""}: the clouds are ${write(unlike(cloud, own), 3)} unlike, ` +
      `and ${right} of ${n} pictures find their own text.`);
  }
  curves();
  show();
}

export { turned, unlike, found, bestTurn };
export default { render };

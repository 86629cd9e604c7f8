// What a detector finds above a threshold, and where each of its queries looks.

// Intersection over union of two boxes [x0, y0, x1, y1].
function iou([ax0, ay0, ax1, ay1], [bx0, by0, bx1, by1]) {
  const width = Math.max(0, Math.min(ax1, bx1) - Math.max(ax0, bx0));
  const height = Math.max(0, Math.min(ay1, by1) - Math.max(ay0, by0));
  const both = width * height;
  const all = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - both;
  return all > 0 ? both / all : 0;
}

// The queries whose score reaches the threshold, surest first, each right or not: a right one has the label of an object
// that no surer one has, and an IoU of at least a half with it.
function judged({ labels, scores, boxes, truth }, threshold) {
  const taken = truth.map(() => false);
  const shown = range(scores.length).filter((q) => scores[q] >= threshold).sort((a, b) => scores[b] - scores[a]);
  return shown.map((query) => {
    let best = -1, most = 0.5;
    truth.forEach(([name, box], i) => {
      const overlap = iou(boxes[query], box);
      if (!taken[i] && name === labels[query] && overlap >= most) [best, most] = [i, overlap];
    });
    if (best >= 0) taken[best] = true;
    return { query, right: best >= 0 };
  });
}

// What the figure says in words.
function inWords(story, threshold, query) {
  const found = judged(story, threshold), right = found.filter((one) => one.right).length;
  const count = (n, word) => `${n} ${word}${n === 1 ? "" : word === "box" ? "es" : "s"}`;
  const first = `From a score of ${write(threshold)} on: ${count(found.length, "box")}, ${right} right, ` +
    `${found.length - right} wrong, and ${story.truth.length - right} of ${count(story.truth.length, "object")} missed.`;
  if (query < 0) return first;
  const [x0, y0, x1, y1] = story.boxes[query].map(Math.round);
  const many = story.maps[query].filter((value) => value >= 50).length;
  return `${first} Query ${query + 1} says ${story.labels[query]} with ${write(story.scores[query])}, columns ${x0} to ${x1}, ` +
    `rows ${y0} to ${y1}; ${count(many, "cell")} of ${story.maps[query].length} have at least half of its largest weight.`;
}

function render({ model, el }) {
  const stories = model.get("stories");
  const card = newCard(el, "What a detector finds");
  let story = stories[0], threshold = 0.5, query = -1;

  const picture = (one, i) => make("img", { src: one.picture, alt: `scene ${i + 1}` });
  const scenes = newChoice("Scene", stories.map(picture), 0, (i) => { story = stories[i]; query = -1; show(); });
  const slider = newSlider("Score from which a box is shown",
    { min: 0, max: 1, step: 0.01, value: threshold, words: (x) => write(x) }, (x) => { threshold = x; draw(); });
  const content = make("div", { class: "mm-wide mm-body" });
  card.body.append(...(stories.length > 1 ? [make("div", { class: "mm-wide" }, scenes.box)] : []),
    make("div", { class: "mm-wide" }, slider.box), content);
  let veil, drawn;
  show();

  function show() {
    const [height, width] = story.size;
    veil = make("g", {});
    drawn = make("g", {});
    const scene = make("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", style: "max-width: 340px" },
      make("image", { href: story.picture, width, height }), veil, drawn);
    const names = ["none", ...range(story.scores.length).map((q) => String(q + 1))];
    const queries = newChoice("Query whose attention is shown", names, 0, (i) => { query = i - 1; draw(); });
    queries.buttons.slice(1).forEach((button, q) => set(button, { "aria-label": `query ${q + 1}` }));
    content.replaceChildren(make("div", {}, scene), make("div", {},
      make("p", { class: "mm-note", style: "margin-bottom: 6px" }, "Where does a query look?"), queries.box,
      make("p", { class: "mm-note", style: "margin-top: 10px" },
        "Blue lines are right boxes, broken orange lines wrong ones. The chosen query's box is dark, also where its score is too " +
        "low to be shown. The less attention it pays to a cell, the more the cell fades.")));
    draw();
  }

  function draw() {
    const [height, width] = story.size;
    const outline = (q, style) => {
      const [x0, y0, x1, y1] = story.boxes[q];
      return make("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, fill: "none", ...style, ...EVEN });
    };
    const boxes = judged(story, threshold).map(({ query: q, right }) => outline(q, right
      ? { stroke: "var(--blue)", "stroke-width": 2.5 }
      : { stroke: "var(--orange)", "stroke-width": 2.5, "stroke-dasharray": "6 4" }));
    if (query >= 0) boxes.push(outline(query, { stroke: "var(--ink)", "stroke-width": 3 }));
    drawn.replaceChildren(...boxes);
    const values = query >= 0 ? story.maps[query] : [], side = Math.sqrt(values.length);
    veil.replaceChildren(...values.map((value, n) => make("rect", {
      x: (n % side) * width / side, y: Math.floor(n / side) * height / side, width: width / side, height: height / side,
      fill: "var(--paper)", "fill-opacity": write(0.85 * (1 - value / 100)) })));
    card.say(inWords(story, threshold, query));
  }
}

export { iou, judged, inWords };
export default { render };

// A word of a caption, and where each method says that it comes from.

const written = (word) => (word === "<end>" ? "■" : word);

// The number of the cell with the largest value, and the first box in which its middle lies, or null.
function peak({ size: [height, width], boxes }, values) {
  const side = Math.sqrt(values.length), n = values.indexOf(Math.max(...values));
  const x = ((n % side) + 0.5) * width / side, y = (Math.floor(n / side) + 0.5) * height / side;
  const inside = boxes.find(([, [x0, y0, x1, y1]]) => x0 <= x && x < x1 && y0 <= y && y < y1);
  return { n, box: inside ? inside[0] : null };
}

// What the figure says in words of a method's map of a word.
function inWords(story, method, word) {
  const values = story.maps[method][word], side = Math.sqrt(values.length);
  const name = story.words[word] === "<end>" ? "The end" : `“${story.words[word]}”`;
  if (Math.max(...values) === 0) return `${name}, ${method}: no cell speaks for the word.`;
  const { n, box } = peak(story, values);
  const place = box ? `inside the box of ${box}` : "outside of all boxes";
  const many = values.filter((value) => value >= 50).length;
  return `${name}, ${method}: the largest value lies in row ${Math.floor(n / side) + 1}, column ${n % side + 1}, ` +
    `${place}; ${many} of ${values.length} cells have at least half of it.`;
}

function render({ model, el }) {
  const stories = model.get("stories"), methods = Object.keys(stories[0].maps);
  const card = newCard(el, "Where a word comes from");
  let story = stories[0], word = story.first, method = methods[0];

  const picture = (one) => make("img", { src: one.picture, alt: one.words.slice(0, -1).join(" ") });
  const scenes = newChoice("Scene", stories.map(picture), 0, (i) => { [story, word] = [stories[i], stories[i].first]; show(); });
  const ways = newChoice("Method", methods, 0, (i) => { method = methods[i]; draw(); });
  const content = make("div", { class: "mm-wide mm-body" });
  card.body.append(make("div", { class: "mm-wide" }, ways.box),
    ...(stories.length > 1 ? [make("div", { class: "mm-wide" }, scenes.box)] : []), content);
  let veil, frame;
  show();

  function show() {
    const [height, width] = story.size;
    veil = make("g", {});
    frame = make("rect", { fill: "none", stroke: "var(--ink)", "stroke-width": 3, ...EVEN });
    const truth = story.boxes.map(([, [x0, y0, x1, y1]], i) => make("rect",
      { x: x0, y: y0, width: x1 - x0, height: y1 - y0, fill: "none", stroke: hue(i), "stroke-width": 2, ...EVEN }));
    const scene = make("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", style: "max-width: 320px" },
      make("image", { href: story.picture, width, height }), veil, ...truth, frame);
    const words = newChoice("Words of the caption", story.words.map(written), word, (i) => { word = i; draw(); });
    words.buttons.forEach((button, i) => {
      if (story.words[i] === "<end>") set(button, { "aria-label": "end of the sentence" });
      button.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") words.choose(i); });
    });
    content.replaceChildren(make("div", {}, scene), make("div", {},
      make("p", { class: "mm-note", style: "margin-bottom: 6px" }, "It wrote (point at a word, or use the arrow keys):"),
      words.box, make("p", { class: "mm-note", style: "margin-top: 10px" },
        "The smaller a cell's value, the more it fades; values below zero fade wholly, and the largest has a dark frame. " +
        "The coloured boxes are the truth, which no method gets.")));
    draw();
  }

  function draw() {
    const values = story.maps[method][word], side = Math.sqrt(values.length);
    const [height, width] = story.size, [wide, high] = [width / side, height / side];
    const at = (n) => ({ x: (n % side) * wide, y: Math.floor(n / side) * high, width: wide, height: high });
    veil.replaceChildren(...values.map((value, n) =>
      make("rect", { ...at(n), fill: "var(--paper)", "fill-opacity": write(0.88 * (1 - value / 100)) })));
    set(frame, at(peak(story, values).n));
    card.say(inWords(story, method, word));
  }
}

export { peak, inWords };
export default { render };

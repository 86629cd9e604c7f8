// A picture on its way from noise, and what a judge reads at each step.

// How many of the facts, pairs of a name and whether it is true, came true.
const cameTrue = (facts) => facts.filter(([, right]) => right).length;

// The first step from which on all facts are true, or -1.
function settled(steps) {
  let first = -1;
  steps.forEach((facts, i) => {
    const whole = cameTrue(facts) === facts.length;
    if (whole && first < 0) first = i;
    if (!whole) first = -1;
  });
  return first;
}

function render({ model, el }) {
  const [captions, strips, readings, facts, times, side] =
    ["captions", "strips", "readings", "facts", "times", "side"].map((name) => model.get(name));
  const last = readings[0].length - 1, card = newCard(el, "A picture on its way from noise");
  let which = 0, step = 0;
  const select = make("select", { "aria-label": "caption", onchange: () => { which = select.selectedIndex; show(); } },
    ...captions.map((caption) => make("option", {}, caption)));
  const slider = newSlider("time t", { min: 0, max: last, value: step, words: (x) => write(times[x]) }, (x) => { step = x; show(); });
  const image = make("image", { width: side * (last + 1), height: side, "preserveAspectRatio": "none" });
  const picture = make("svg", { viewBox: `0 0 ${side} ${side}`, role: "img", style: "max-width: 260px; border: 1px solid #9ca3af" }, image);
  const list = make("tbody");
  const table = make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "asked for"), make("th", { scope: "col" }, "came true"))), list);
  card.body.append(make("div", { class: "mm-wide" }, make("label", { style: "max-width: 100%" }, "caption ", select)),
    make("div", {}, picture), make("div", {}, slider.box, table));

  function show() {
    const now = facts[which][step];
    set(image, { href: strips[which], x: -side * step });
    set(picture, { "aria-label": `the picture at time ${write(times[step])}` });
    list.replaceChildren(...now.map(([name, right]) =>
      make("tr", {}, make("td", { class: "mm-text" }, name), make("td", {}, right ? "yes" : "no"))));
    const from = settled(facts[which]);
    const rest = from < 0 ? "It never shows all that was asked for." : `From time ${write(times[from])} on it shows all that was asked for.`;
    card.say(`Asked for: “${captions[which]}”. At time ${write(times[step])} the judge reads “${readings[which][step]}”: ${cameTrue(now)} of ${now.length} facts are true. ${rest}`);
  }
  show();
}

export { cameTrue, settled };
export default { render };

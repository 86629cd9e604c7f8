// How long requests wait: arrivals, the largest batch, and how long the first of a batch waits for others.

const COUNT = 400, SHOWN = 40, MOST = [1, 2, 4, 8, 16];

// Times of arrivals in milliseconds, with the random numbers that Python has ("minimal standard", from 1).
function arrivalsOf(rate, count) {
  let seed = 1, now = 0;
  return range(count).map(() => {
    seed = (seed * 16807) % 2147483647;
    now -= Math.log(seed / 2147483647) / rate;
    return 1000 * now;
  });
}

// One server that takes batches: when each arrival begins and ends, and the sizes of the batches.
function simulate(arrivals, secondsOf, most, wait) {
  const starts = [], ends = [], batches = [];
  let first = 0, coming = 0, free = 0; // first: the one who has waited longest
  while (coming < arrivals.length || first < coming) {
    if (first === coming) coming += 1;
    const full = coming - first >= most;
    let begin = Math.max(free, arrivals[first] + (full ? 0 : wait));
    while (coming < arrivals.length && arrivals[coming] <= begin) {
      coming += 1;
      if (coming - first === most) begin = Math.max(free, arrivals[coming - 1]);
    }
    const size = Math.min(most, coming - first);
    free = begin + secondsOf(size);
    for (let i = 0; i < size; i++) { starts.push(begin); ends.push(free); }
    batches.push(size);
    first += size;
  }
  return { starts, ends, batches };
}

function percentile(values, share) {
  const place = Math.max(1, Math.ceil(Math.round(share * values.length * 1e9) / 1e9));
  return [...values].sort((a, b) => a - b)[place - 1];
}

function outcome({ rate, most, wait, fixed, each }) {
  const arrivals = arrivalsOf(rate, COUNT);
  const { starts, ends, batches } = simulate(arrivals, (size) => fixed + size * each, most, wait);
  const latencies = ends.map((end, i) => end - arrivals[i]);
  return {
    p50: percentile(latencies, 0.5), p95: percentile(latencies, 0.95),
    throughput: (1000 * COUNT) / ends[COUNT - 1], batch: COUNT / batches.length,
    bars: range(SHOWN).map((i) => [arrivals[i], starts[i], ends[i]]),
  };
}

// The most that can be served a second, with the largest batches.
const capacity = ({ most, fixed, each }) => (1000 * most) / (fixed + most * each);

function inWords(setting) {
  const { p50, p95, throughput, batch } = outcome(setting), load = setting.rate / capacity(setting);
  const growing = load >= 1 ? " More arrive than can be served: the queue grows as long as they come." : "";
  return `Half of 400 requests are answered within ${write(p50, 0)} ms, 95 % within ${write(p95, 0)} ms; ${write(throughput, 1)} ` +
    `are served a second, in batches of ${write(batch, 1)} in the mean. The load is ${write(100 * load, 0)} %.${growing}`;
}

// A row for each of the first requests: a mark where it arrives, a thin line while it waits, a bar while it is served.
function drawBars(setting) {
  const { bars } = outcome(setting), left = 34, size = 8, top = 8, width = 640;
  const end = Math.max(...bars.map((bar) => bar[2])), x = (time) => left + ((width - left - 12) * time) / end;
  const height = top + SHOWN * size + 34, bottom = top + SHOWN * size;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, style: "width: 100%; max-width: 640px", "aria-hidden": "true" });
  bars.forEach(([came, begins, ends], i) => {
    const y = top + (i + 0.5) * size;
    svg.append(make("line", { x1: x(came), x2: x(begins), y1: y, y2: y, stroke: "var(--grey)", "stroke-width": 2 }));
    svg.append(make("rect", { x: x(begins), y: y - 3, width: x(ends) - x(begins), height: 6, style: "fill: var(--blue)" }));
    svg.append(make("line", { x1: x(came), x2: x(came), y1: y - 4, y2: y + 4, stroke: "var(--orange)", "stroke-width": 3 }));
  });
  svg.append(make("line", { x1: left, x2: width - 12, y1: bottom + 4, y2: bottom + 4, stroke: "var(--ink)" }));
  for (const part of [0, 0.5, 1])
    svg.append(make("text", { x: x(end * part), y: bottom + 22, "text-anchor": part ? (part === 1 ? "end" : "middle") : "start" },
      `${write(end * part, 0)} ms`));
  return svg;
}

function render({ model, el }) {
  const state = {};
  for (const name of ["rate", "most", "wait", "fixed", "each"]) state[name] = model.get(name);
  const card = newCard(el, "How long requests wait");
  model.on("change", () => render({ model, el }));
  const place = make("div", { class: "mm-wide" });
  const batch = newChoice("largest batch", MOST.map(String), MOST.indexOf(state.most), (i) => { state.most = MOST[i]; draw(); });
  const rate = newSlider("arrivals a second", { min: 5, max: 200, step: 5, value: state.rate }, (n) => { state.rate = n; draw(); });
  const wait = newSlider("wait for company, ms", { min: 0, max: 100, step: 5, value: state.wait }, (n) => { state.wait = n; draw(); });
  card.body.append(
    make("div", { class: "mm-wide" }, make("p", { class: "mm-note" }, "Largest batch:"), batch.box, rate.box, wait.box), place,
    make("p", { class: "mm-note mm-wide" },
      `A row is one of the first ${SHOWN} requests: an orange mark where it arrives, a grey line while it waits, a blue bar while it is served.`));

  function draw() {
    place.replaceChildren(drawBars(state));
    card.say(inWords(state));
  }
  draw();
}

export { arrivalsOf, simulate, outcome, capacity };
export default { render };

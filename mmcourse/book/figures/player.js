// A clip that plays, and beside it how much a reader looked at each of its frames.

const STEP = 250, CALM = 1000; // milliseconds from a frame to the next; where less motion is asked for

const percentOf = (weight) => `${Math.round(100 * weight)} %`;

function inWords({ caption, truth, when, parts }, frame) {
  const looks = parts.map(([name, weights]) => `${name} ${percentOf(weights[frame])}`).join(", ");
  const here = when.includes(frame) ? "It happens in this frame." : "Nothing happens in this frame.";
  const right = caption === truth ? "which is true" : `the truth is “${truth}”`;
  return `Frame ${frame + 1}. Read as “${caption}”, ${right}. ${here} Weight on it: ${looks}.`;
}

// Bars of the weights of one part: a column a frame; those in which it happens have a line below.
function drawBars([name, weights], when, frame) {
  const F = weights.length, size = 300 / F, high = 54, top = Math.max(...weights);
  const svg = make("svg", { viewBox: `0 0 300 ${high + 30}`, "aria-hidden": "true" });
  svg.append(make("text", { x: 0, y: 12 }, `${name}: at most ${percentOf(top)}`));
  weights.forEach((weight, i) => {
    const tall = (high * weight) / top, y = 18 + high - tall;
    svg.append(make("rect", { x: i * size + 2, y, width: size - 4, height: tall,
      style: `fill: var(--${i === frame ? "orange" : "blue"})` }));
    if (when.includes(i)) svg.append(make("rect", { x: i * size + 2, y: high + 22, width: size - 4, height: 4, style: "fill: var(--ink)" }));
  });
  return svg;
}

function render({ model, el }) {
  const stories = model.get("stories"), card = newCard(el, "A clip, and where its reader looked");
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  let story = stories[0], frame = 0, timer = null;
  const [height, width] = story.size;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, style: "max-width: 260px; border: 1px solid #9ca3af", role: "img" });
  const bars = make("div", {});
  const choice = newChoice("The clip", stories.map(({ truth }) => truth), 0, (i) => { story = stories[i]; frame = 0; stop(); show(); });
  const slider = newSlider("Frame", { min: 1, max: story.count, value: 1 }, (n) => { frame = n - 1; stop(); show(); });
  const button = newButton("Play", () => (timer === null ? play() : stop()));
  set(button, { "aria-pressed": "false" });
  card.body.append(make("div", { class: "mm-wide mm-row" }, choice.box), make("div", {}, svg, slider.box, button), bars,
    make("p", { class: "mm-note mm-wide" }, "A bar is a frame; the orange one is shown. A black line stands below the frames in which it happens."));
  show();
  const gone = new MutationObserver(() => { if (!el.isConnected) { stop(); gone.disconnect(); } });
  gone.observe(document.body, { childList: true, subtree: true });

  // Where less motion is asked for, it plays once, a frame a second.
  function play() {
    if (calm && frame === story.count - 1) frame = 0;
    timer = setInterval(() => {
      frame = (frame + 1) % story.count;
      draw();
      if (calm && frame === story.count - 1) stop();
    }, calm ? CALM : STEP);
    label("Pause", true);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    label("Play", false);
    say();
  }

  function label(text, pressed) {
    button.textContent = text;
    set(button, { "aria-pressed": String(pressed) });
  }

  function draw() {
    svg.replaceChildren(make("title", {}, `Frame ${frame + 1} of the clip “${story.truth}”`),
      make("image", { href: story.strip, x: -frame * width, y: 0, width: width * story.count, height, preserveAspectRatio: "none" }));
    bars.replaceChildren(...story.parts.map((part) => drawBars(part, story.when, frame)));
    slider.set(frame + 1);
  }

  function say() { card.say(inWords(story, frame)); } // not while it plays: a screen reader would never end

  function show() { draw(); say(); }
}

export { inWords };
export default { render };

// What scrolls sideways in the text, a wide figure on a phone say, can be reached and scrolled by keyboard, and fades
// at its right edge while there is more to see.
function fade(element) {
  const rest = element.scrollWidth - element.clientWidth - element.scrollLeft;
  element.classList.toggle("more", rest > 4);
  element.style.setProperty("--edge", `${element.scrollLeft + element.clientWidth}px`);
}
function reach() {
  for (const element of document.querySelectorAll("article *:not(mjx-container *, svg *)")) {
    const scrolls = element.scrollWidth > element.clientWidth && /auto|scroll/.test(getComputedStyle(element).overflowX);
    if (scrolls && element.tabIndex < 0) {
      element.tabIndex = 0;
    }
    if (scrolls || element.classList.contains("more")) {
      fade(element);
    }
  }
}
addEventListener("load", reach);
addEventListener("resize", reach);
addEventListener("toggle", reach, true); // a fold opens
addEventListener("click", () => setTimeout(reach));
addEventListener("scroll", (event) => event.target.closest?.("article") && fade(event.target), true);

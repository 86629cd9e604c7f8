// What scrolls sideways in the text, a wide figure on a phone say, can be reached and scrolled by keyboard.
function reach() {
  for (const element of document.querySelectorAll("article *:not(mjx-container *, svg *)")) {
    const scrolls = element.scrollWidth > element.clientWidth && /auto|scroll/.test(getComputedStyle(element).overflowX);
    if (scrolls && element.tabIndex < 0) {
      element.tabIndex = 0;
    }
  }
}
addEventListener("load", reach);
addEventListener("resize", reach);
addEventListener("toggle", reach, true); // a fold opens
addEventListener("click", () => setTimeout(reach));

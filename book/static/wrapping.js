// On a phone, a long line of code goes on below, a little further in (custom.css). For that each line has to be an element.
document.addEventListener("DOMContentLoaded", () => {
  for (const code of document.querySelectorAll(".bd-article :is(.highlight-ipython3, .highlight-ipython, .highlight-python) pre")) {
    const lines = code.innerHTML.replace(/\n$/, "").split("\n");
    code.innerHTML = lines.map((line) => {
      const text = line.replace(/<[^>]*>/g, "");
      const indent = text.length - text.trimStart().length;
      return `<span class="line" style="--indent: ${indent}ch">${line}\n</span>`;
    }).join("");
  }
});

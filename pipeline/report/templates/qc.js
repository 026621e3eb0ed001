const cards = [...document.querySelectorAll(".card")];
const ticked = (kind) => new Set([...document.querySelectorAll(`.${kind}:checked`)].map((box) => box.value));
const outlines = document.getElementById("with-outlines");
const large = document.getElementById("large");

function show() {
  const levels = ticked("by-level"), phases = ticked("by-phase");
  const wanted = document.getElementById("search").value.trim().toLowerCase().replace(" ", "-");
  for (const card of cards) {
    const { level, phase } = card.dataset;
    card.hidden = !(levels.has(level) && phases.has(phase) && card.id.toLowerCase().includes(wanted));
  }
  document.body.classList.toggle("bare", !outlines.checked);
}

document.querySelector(".filters").addEventListener("input", show);
document.addEventListener("keydown", (event) => {
  if (event.key !== "o" || event.target.matches("[type=search]")) return;
  outlines.checked = !outlines.checked;
  show();
});
document.addEventListener("click", (event) => {
  const pictures = event.target.closest(".pictures");
  if (event.target.closest("#large")) large.close();
  else if (pictures) { large.replaceChildren(pictures.cloneNode(true)); large.showModal(); }
});

const cards = [...document.querySelectorAll(".card")];
const ticked = (kind) => new Set([...document.querySelectorAll(`.${kind}:checked`)].map((box) => box.value));
function filter() {
  const levels = ticked("by-level"), phases = ticked("by-phase");
  const wanted = document.getElementById("search").value.trim().toLowerCase();
  for (const card of cards) {
    const { level, phase } = card.dataset;
    card.hidden = !(levels.has(level) && phases.has(phase) && card.id.toLowerCase().includes(wanted.replace(" ", "-")));
  }
}
document.querySelector(".filters").addEventListener("input", filter);
const large = document.getElementById("large");
document.addEventListener("click", (event) => {
  if (event.target.matches(".sheet img")) { large.firstElementChild.src = event.target.src; large.showModal(); }
  else if (event.target.closest("#large")) large.close();
});

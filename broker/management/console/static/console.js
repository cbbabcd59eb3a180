// The pages work without this: it keeps figures fresh, draws charts, and listens to the keyboard.
import { draw } from "./charts.js";
import { isLive, pause, start } from "./live.js";

const root = document.documentElement;
const live = document.getElementById("live");
const home = document.querySelector(".mark").getAttribute("href").replace(/\/$/, "");

const THEMES = ["system", "light", "dark"];
const theme = document.getElementById("theme");

function show(name) {
  if (name === "system") delete root.dataset.theme;
  else root.dataset.theme = name;
  theme.textContent = `Theme: ${name}`;
  drawAll();
}

function drawAll() {
  for (const place of document.querySelectorAll("[data-chart]")) draw(place);
}

function toggle() {
  const goesOn = pause();
  live.setAttribute("aria-pressed", String(goesOn));
  live.textContent = goesOn ? "Live" : "Paused";
}

if (isLive()) {
  live.hidden = false;
  live.addEventListener("click", toggle);
  start(home);
}
theme.hidden = false;
theme.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(localStorage.getItem("theme") ?? "system") + 1) % THEMES.length];
  localStorage.setItem("theme", next);
  show(next);
});
show(localStorage.getItem("theme") ?? "system");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

// On a narrow screen the pages' names are in one line: the one that is shown should be in sight.
const rail = document.querySelector(".rail");
const current = rail?.querySelector("[aria-current]");
if (current) rail.scrollLeft = current.offsetLeft - (rail.clientWidth - current.offsetWidth) / 2;

// Names of virtual hosts are offered as somebody types, where there are many.
for (const field of document.querySelectorAll("[data-suggest]")) {
  field.addEventListener("input", async () => {
    const answer = await fetch(`${home}/suggestions?part=${encodeURIComponent(field.value)}`, { credentials: "same-origin" });
    if (answer.ok && !answer.redirected) field.list.innerHTML = await answer.text();
  });
}

// Keyboard: / searches, g and a letter goes to a page, j and k choose a row, Enter opens it, space pauses.
const GOES = { o: "/", n: "/nodes", q: "/queues", t: "/exchanges", s: "/subscriptions", c: "/connections", d: "/dead-letters", l: "/timeline" };
let isGoing = false;

function choose(step) {
  const rows = [...document.querySelectorAll("tbody tr")];
  const at = rows.findIndex((row) => row.classList.contains("chosen"));
  rows[at]?.classList.remove("chosen");
  const row = rows[Math.min(Math.max(at + step, 0), rows.length - 1)];
  row?.classList.add("chosen");
  row?.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select") !== null;
  if (event.key === "Escape" && isTyping) event.target.blur();
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isGoing) {
    isGoing = false;
    if (event.key in GOES) location.assign(home + GOES[event.key]);
    return;
  }
  if (event.key === "g") isGoing = true;
  else if (event.key === "/") document.getElementById("search")?.focus();
  else if (event.key === "j") choose(1);
  else if (event.key === "k") choose(-1);
  else if (event.key === "Enter" && event.target === document.body) document.querySelector("tr.chosen a")?.click();
  else if (event.key === " " && event.target === document.body && !live.hidden) toggle();
  else return;
  event.preventDefault();
});

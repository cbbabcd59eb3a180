// The pages work without this: it keeps figures fresh, draws charts, and listens to the keyboard.
import { draw } from "./charts.js";

const EVERY = 2000; // milliseconds between two looks at the page
const root = document.documentElement;

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

let isLive = document.querySelector("[data-live]") !== null;
const live = document.getElementById("live");

// Put what has changed in the place of what was, but not while somebody is in it.
function replace(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    const isBusy = part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
    if (next === null || isBusy || next.innerHTML === part.dataset.seen) continue;
    part.dataset.seen = next.innerHTML;
    const charts = part.querySelectorAll("[data-chart]");
    if (charts.length > 0) {
      const data = next.querySelectorAll("[data-chart]");
      charts.forEach((place, at) => { if (data[at]) place.dataset.chart = data[at].dataset.chart; draw(place); });
    } else {
      part.replaceChildren(...next.childNodes);
    }
  }
}

async function look() {
  if (!isLive || document.hidden) return;
  try {
    const answer = await fetch(location.href, { headers: { "X-Live": "1" }, credentials: "same-origin" });
    if (answer.status === 401) location.reload();
    else if (answer.ok) replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
    root.classList.toggle("away", !answer.ok);
  } catch {
    root.classList.add("away"); // the node is away: what is shown stays, and the next look may find it
  }
}

function pause() {
  isLive = !isLive;
  live.setAttribute("aria-pressed", String(isLive));
  live.textContent = isLive ? "Live" : "Paused";
}

if (isLive) {
  live.hidden = false;
  live.addEventListener("click", pause);
  setInterval(look, EVERY);
}
theme.hidden = false;
theme.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(localStorage.getItem("theme") ?? "system") + 1) % THEMES.length];
  localStorage.setItem("theme", next);
  show(next);
});
show(localStorage.getItem("theme") ?? "system");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

// Keyboard: / searches, g and a letter goes to a page, j and k choose a row, Enter opens it, space pauses.
const GOES = { o: "/", n: "/nodes", q: "/queues", t: "/exchanges", s: "/subscriptions", c: "/connections", d: "/dead-letters", l: "/timeline" };
const home = document.querySelector(".mark").getAttribute("href").replace(/\/$/, "");
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
  else if (event.key === " " && event.target === document.body && !live.hidden) pause();
  else return;
  event.preventDefault();
});

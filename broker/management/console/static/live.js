// Keeps the parts of a page that change as the node has them.
import { draw } from "./charts.js";

const EVERY = 2000; // milliseconds between two looks at the page, while the node does not tell what changes
const AGAIN = 15000; // milliseconds until it is asked again whether it tells
const root = document.documentElement;
const mark = document.querySelector("header input[name=mark]")?.value ?? "";

// Parts of the page as the node has told them last, cut before each row of a table; and those that are shown otherwise,
// because somebody is in them.
const told = new Map();
const behind = new Set();

function isBusy(part) {
  const here = document.activeElement;
  return (part.contains(here) && !here.matches(".scroll")) || part.querySelector("details[open]") !== null;
}

// Where somebody is in a part: how far tables are moved, which of them has the focus, which row is chosen.
function placeIn(part) {
  const tables = [...part.querySelectorAll(".scroll")].map((table) => ({
    left: table.scrollLeft, top: table.scrollTop, isHere: table === document.activeElement,
  }));
  return { tables, row: [...part.querySelectorAll("tbody tr")].findIndex((row) => row.classList.contains("chosen")) };
}

function goBack(part, { tables, row }) {
  part.querySelectorAll(".scroll").forEach((table, at) => {
    if (!tables[at]) return;
    table.scrollLeft = tables[at].left;
    table.scrollTop = tables[at].top;
    if (tables[at].isHere) table.focus({ preventScroll: true });
  });
  part.querySelectorAll("tbody tr")[row]?.classList.add("chosen");
}

// Put a part in the place of what was.
function replace(part, fresh) {
  const charts = part.querySelectorAll("[data-chart]");
  if (charts.length > 0) {
    const data = fresh.querySelectorAll("[data-chart]");
    charts.forEach((place, at) => {
      if (!data[at] || data[at].dataset.chart === place.dataset.chart) return;
      place.dataset.chart = data[at].dataset.chart;
      draw(place);
    });
  } else {
    const place = placeIn(part);
    part.replaceChildren(...fresh.childNodes);
    goBack(part, place);
  }
  for (const field of part.querySelectorAll("input[name=mark]")) field.value = mark;
}

function show(id, rows) {
  const part = document.getElementById(id);
  if (part === null) return;
  if (isBusy(part)) {
    behind.add(id);
  } else if (behind.delete(id) || rows === undefined) {
    const fresh = document.createElement("template");
    fresh.innerHTML = told.get(id).join("");
    replace(part, fresh.content.firstElementChild);
  } else {
    const shown = part.querySelectorAll("tr");
    for (const [at, row] of Object.entries(rows)) {
      const old = shown[at - 1];
      const isChosen = old.classList.contains("chosen");
      old.outerHTML = row;
      const fresh = part.querySelectorAll("tr")[at - 1];
      if (isChosen) fresh.classList.add("chosen");
      for (const field of fresh.querySelectorAll("input[name=mark]")) field.value = mark;
    }
  }
}

function take({ status, parts = {} }) {
  root.classList.toggle("away", status !== undefined);
  for (const [id, { html, rows }] of Object.entries(parts)) {
    if (html !== undefined) told.set(id, html.split(/(?=<tr[ >])/));
    else for (const [at, row] of Object.entries(rows)) told.get(id)[at] = row;
    show(id, rows);
  }
  for (const id of [...behind]) if (!(id in parts)) show(id);
}

// The node tells what changes; if it cannot, the page is looked at again every two seconds.
let home = "";
let goesOn = document.querySelector("[data-live]") !== null;
let source = null;
let looking = null;
let again = null;

function listen() {
  stop();
  if (!goesOn || document.hidden) return;
  const page = location.pathname.slice(home.length) + location.search;
  source = new EventSource(`${home}/live?page=${encodeURIComponent(page)}`);
  const heard = (event) => take(JSON.parse(event.data));
  source.addEventListener("snapshot", heard);
  source.addEventListener("delta", heard);
  source.onopen = () => root.classList.remove("away");
  source.onerror = () => {
    root.classList.add("away");
    stop();
    look();
    looking = setInterval(look, EVERY);
    again = setTimeout(listen, AGAIN);
  };
}

function stop() {
  source?.close();
  source = null;
  clearInterval(looking);
  clearTimeout(again);
}

async function look() {
  if (!goesOn || document.hidden) return;
  try {
    const answer = await fetch(location.href, { headers: { "X-Live": "1" }, credentials: "same-origin" });
    if (answer.status === 401) location.reload();
    else if (answer.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const next = fresh.getElementById(part.id);
        if (next !== null && !isBusy(part)) replace(part, next);
      }
    }
    root.classList.toggle("away", !answer.ok);
  } catch {
    root.classList.add("away"); // the node is away: what is shown stays, and the next look may find it
  }
}

export function isLive() {
  return goesOn;
}

// Stop, or go on; return which of them.
export function pause() {
  goesOn = !goesOn;
  listen();
  return goesOn;
}

export function start(where) {
  home = where;
  document.addEventListener("visibilitychange", listen);
  addEventListener("pagehide", stop);
  addEventListener("pageshow", listen);
}

// Charts of a page: series from the attribute data-chart, drawn by uPlot, in the colours of the theme. Times are UTC, as
// all over the console.

const { uPlot } = window;
const HEIGHT = 190; // pixels
const drawn = new WeakMap();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Seconds since 1970 as a time of the day; with `step`, as far as a step of so many seconds needs it.
function clock(seconds, step = 1) {
  return new Date(1000 * seconds).toISOString().slice(11, step < 60 ? 19 : 16);
}

export function draw(place) {
  const { labels, data } = JSON.parse(place.dataset.chart);
  drawn.get(place)?.destroy();
  drawn.delete(place);
  const isEmpty = uPlot === undefined || data[0].length < 2;
  place.classList.toggle("empty", isEmpty);
  if (isEmpty) {
    place.textContent = "There are no figures yet.";
    return;
  }
  place.textContent = "";
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  const unit = place.dataset.unit;
  const series = labels.map((label, at) => ({
    label, stroke: colour(`--s${at + 1}`), width: 2, dash: at % 2 ? [6, 3] : undefined, spanGaps: true,
    value: (_, value) => (value == null ? "–" : `${Math.round(value).toLocaleString("en")}${unit}`),
  }));
  const options = {
    width: place.clientWidth, height: HEIGHT,
    tzDate: (seconds) => uPlot.tzDate(new Date(1000 * seconds), "Etc/UTC"),
    scales: { y: { range: (_, low, high) => [0, Math.max(unit === "" ? 4 : 1, high * 1.1)] } },
    axes: [
      { ...axis, space: 70, values: (_, ticks, axisAt, space, step) => ticks.map((tick) => clock(tick, step)) },
      { ...axis, size: 60, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en")) },
    ],
    series: [{ label: "UTC", value: (_, seconds) => (seconds == null ? "–" : clock(seconds)) }, ...series],
  };
  drawn.set(place, new uPlot(options, data, place));
}

new ResizeObserver(() => {
  for (const place of document.querySelectorAll("[data-chart]")) {
    drawn.get(place)?.setSize({ width: place.clientWidth, height: HEIGHT });
  }
}).observe(document.body);

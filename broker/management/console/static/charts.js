// Charts of a page: series from the attribute data-chart, drawn by uPlot, in the colours of the theme.

const { uPlot } = window;
const HEIGHT = 190; // pixels
const drawn = new WeakMap();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
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
    scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
    axes: [axis, { ...axis, size: 60, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en")) }],
    series: [{}, ...series],
  };
  drawn.set(place, new uPlot(options, data, place));
}

new ResizeObserver(() => {
  for (const place of document.querySelectorAll("[data-chart]")) {
    drawn.get(place)?.setSize({ width: place.clientWidth, height: HEIGHT });
  }
}).observe(document.body);

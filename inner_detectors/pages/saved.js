// A page that an explorer saved. It stands behind grid.js in one script: `render`, `h`, `word`, `frameOf`, `mix` and others are from there.
// Whatever needs the network, or images that the page does not hold, is disabled and says so.

const held = async text => {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
};
const state = JSON.parse(document.getElementById("state").textContent);
const blobs = await Promise.all(state.blobs.map(held));
const revived = value => Array.isArray(value) ? value.map(revived) : value === null || typeof value !== "object" ? value
  : "$" in value ? new DataView(blobs[value.$].buffer) : Object.fromEntries(Object.entries(value).map(([name, one]) => [name, revived(one)]));
const saved = revived(state.state), units = new Map(Object.entries(saved.units)), start = saved.start;

// What anywidget gives a drawing: values by name, and who hears of a change.
function traits(values) {
  const hearing = new Map();
  return {
    get: name => values[name],
    set: (name, value) => { values[name] = value; for (const hear of hearing.get(`change:${name}`) || []) hear(); },
    save_changes: () => {},
    on: (event, hear) => hearing.set(event, [...hearing.get(event) || [], hear]),
  };
}
const layerOf = unit => unit.slice(0, unit.lastIndexOf(":"));

// ---- a unit: its images, its threshold and its score, which was counted for every step of the slider when the page was saved

function valueAt(map, {width, rows, columns}, r, c) {
  const down = x => mix(map[rows[0][r] * width + x], map[rows[1][r] * width + x], rows[2][r]);
  return mix(down(columns[0][c]), down(columns[1][c]), columns[2][c]);
}

// What fires at a point: of the units that the page holds, those that keep the image.
function readingAt(unit, [image, r, c]) {
  const found = [], concepts = [];
  let known = 0;
  for (const [name, one] of units) {
    const turn = layerOf(name) === layerOf(unit) ? one.gallery.images.findIndex(tile => tile.image === image) : -1;
    if (turn < 0 || !raw(one.gallery.images[turn].map).length) continue;
    known += 1;
    const limits = one.limits[one.own], limit = limits[limits.length === 1 ? 0 : turn];
    const value = valueAt(numbers(one.gallery.images[turn].map, Float32Array), frameOf(one.gallery.frame), r, c);
    if (value > limit) found.push([limit > 0 ? value / limit : value - limit, {unit: name, label: one.label, value, here: name === unit}]);
    if (name === unit) for (const [concept, bits] of one.masks[turn]) if (unpacked(raw(bits), one.gallery.frame.side)[r * one.gallery.frame.side + c]) concepts.push(concept);
  }
  found.sort((a, b) => b[0] - a[0]);
  return {units: found.slice(0, 8).map(([, one]) => one), more: Math.max(0, found.length - 8), concepts,
    scope: `of the ${known} unit${known === 1 ? "" : "s"} in this page that keep${known === 1 ? "s" : ""} this image`};
}

const looks = {manner: start.manner, outlined: start.outlined}, galleries = new Set();

function viewOf(name, into, choose) {
  const one = units.get(name), many = one.gallery.images.length;
  const limitsAt = place => one.limits[place].length === 1 ? Array(many).fill(one.limits[place][0]) : one.limits[place];
  const model = traits({...one.gallery, ...looks, kind: "gallery", limits: limitsAt(one.now), level: one.levels[one.now], held: [], pointer: [], reading: {}, picked: []});
  const slider = h("input", {type: "range", min: 0, max: one.levels.length - 1, value: one.now}), level = h("output", {className: "ide-number"});
  const readout = h("p", {className: "ide-readout", role: "status"}), back = h("button", {type: "button", className: "ide-button", textContent: "protocol's own"});
  const box = h("div");
  function follow() {
    const place = Number(slider.value), [score, words] = one.said[place];
    level.textContent = one.levels[place];
    slider.setAttribute("aria-valuetext", one.levels[place]);
    model.set("level", one.levels[place]);
    model.set("limits", limitsAt(place));
    readout.replaceChildren(...(score ? [h("span", {className: "ide-score", textContent: score}), " "] : []), h("span", {className: "ide-soft", textContent: words}));
  }
  slider.addEventListener("input", follow);
  back.addEventListener("click", () => { slider.value = one.own; follow(); });
  model.on("change:pointer", () => { if (model.get("pointer").length) model.set("reading", readingAt(name, model.get("pointer"))); });
  model.on("change:picked", () => { if (units.has(model.get("picked")[0])) choose(model.get("picked")[0]); });
  into.replaceChildren(h("h2", {}, word(name), " ", one.label ? word(one.label) : h("span", {className: "ide-soft", textContent: "no label"}),
    one.concept && one.concept !== one.label && h("span", {className: "ide-soft"}, " against ", word(one.concept))),
    h("div", {className: "ide-row"}, h("label", {}, one.slider), level, back), h("p", {className: "ide-soft", textContent: one.scale}), readout, box);
  into.querySelector("label").append(slider);
  galleries.delete(into.model); galleries.add(into.model = model);
  render({model, el: box});
  follow();
}

// ---- the page

const control = (title, made) => { made.id = `by-${title.replaceAll(" ", "-")}`; return [h("label", {htmlFor: made.id, textContent: title}), made]; };
const layers = h("select", {}, ...saved.layers.map(([name, shown]) => h("option", {value: name, textContent: shown})));
const search = h("input", {type: "search", value: start.words, placeholder: "a unit or a concept", autocomplete: "off", spellcheck: false});
const list = h("select", {size: 13}), hits = h("p", {className: "ide-soft", role: "status"});
const main = h("section", {className: "ide-view"}), second = h("section", {className: "ide-view"});
let unit = start.unit;

function fill() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean), fits = ([text]) => words.every(one => text.toLowerCase().slice(text.indexOf(" ")).includes(one));
  const own = saved.list.filter(([, name]) => layerOf(name) === layers.value).filter(fits);
  const others = words.length ? saved.list.filter(([, name]) => layerOf(name) !== layers.value).filter(fits).sort((a, b) => parseFloat(b[0]) - parseFloat(a[0])).slice(0, 200) : [];
  list.replaceChildren(...[...own, ...others].map(([text, name]) => h("option", {value: name, disabled: !units.has(name), selected: name === unit, textContent: text})));
  hits.textContent = words.length ? own.length + others.length ? `${own.length} here, ${others.length} in other layers; Enter takes the first that can be shown` : "No unit of any layer fits." : saved.order;
}
function choose(name) {
  unit = name;
  layers.value = layerOf(name);
  fill();
  viewOf(name, main, choose);
}
layers.addEventListener("change", () => {
  const first = saved.list.find(([, name]) => layerOf(name) === layers.value && units.has(name));
  first ? choose(first[1]) : fill();
});
search.addEventListener("input", fill);
search.addEventListener("keydown", event => {
  const first = event.key === "Enter" && search.value.trim() && [...list.options].find(one => !one.disabled);
  if (first) choose(first.value);
});
list.addEventListener("change", () => { if (list.value) choose(list.value); });

const drawn = () => { for (const model of galleries) for (const [name, value] of Object.entries(looks)) model.set(name, value); };
const manners = h("fieldset", {}, ...[["reveal", "lit"], ["outline", "outline"], ["heat", "heat"]].map(([value, text]) =>
  h("label", {}, h("input", {type: "radio", name: "manner", value, checked: value === looks.manner, onchange: () => { looks.manner = value; drawn(); }}), text)));
manners.setAttribute("aria-label", "How images are drawn");
const outlined = h("label", {}, h("input", {type: "checkbox", checked: looks.outlined, onchange: event => { looks.outlined = event.target.checked; drawn(); }}), "outline the concept");
const key = h("p", {className: "ide-key"}, h("span", {className: "ide-key-unit"}), "above the threshold ", h("span", {className: "ide-key-concept"}), "the concept");

// The bench as it was: its answers are the network's, so it can be looked at alone.
const altered = h("section", {className: "ide-bench-box"}, h("h2", {textContent: "The bench"}), h("p", {className: "ide-soft", textContent: saved.needs}));
if (saved.bench) {
  const box = h("div", {});
  altered.append(h("p", {}, word(saved.bench.name)), box);
  render({model: traits({...saved.bench.values, manner: looks.manner}), el: box});
  for (const one of box.querySelectorAll("button, input")) one.disabled = true;
  box.querySelector("figcaption").textContent = "As it is, with what was painted";
}
document.getElementById("main").append(h("p", {className: "ide-soft", textContent: saved.about}), h("p", {className: "ide-soft", textContent: saved.holds}),
  h("div", {className: "ide-body"},
    h("div", {className: "ide-side"}, ...control("layer", layers), ...control("search", search), hits, ...control("units", list)),
    h("div", {className: "ide-column"}, h("div", {className: "ide-row"}, manners, outlined, key), main, start.other ? second : null, altered)));
choose(unit);
if (start.other) viewOf(start.other, second, choose);
document.documentElement.dataset.ready = "yes";

// Draws a report from what data/run.js and data/layer-N.js hold. Every text becomes a text node; nothing from data is ever read as markup.
"use strict";
const report = (() => {
  const PAGE = 60, STRIP = 3;
  let run, order = [], page = 0, lastMain = 0, drawn = false;
  const layers = new Map(), waiting = new Map(), places = new Map();
  const $ = id => document.getElementById(id);

  // ---- elements ----
  function element(space, name, attributes, children) {
    const made = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children.flat(9).filter(child => child != null && child !== false));
    return made;
  }
  const h = (name, attributes, ...children) => element("http://www.w3.org/1999/xhtml", name, attributes, children);
  const s = (name, attributes, ...children) => element("http://www.w3.org/2000/svg", name, attributes, children);
  const word = text => h("bdi", {dir: "auto"}, text);
  const wide = (share, name = "i") => { const made = h(name); made.style.width = `${100 * Math.max(0, Math.min(1, share))}%`; return made; };

  const end = (text, more = "") => h("td", {class: `end ${more}`}, text);
  const first = child => h("th", {scope: "row"}, child);
  const heading = (text, more) => text === "" ? h("td") : h("th", {scope: "col", class: more}, text);
  const table = (headings, rows) => h("table", {}, h("thead", {}, h("tr", {}, headings)), h("tbody", {}, rows));
  // A table that is wider than the screen scrolls, and says so: a phone shows no bar.
  const scroll = (title, child) => {
    const box = h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": title}, child);
    const sign = h("p", {class: "sideways", hidden: true}, "More columns: scroll sideways →");
    new ResizeObserver(() => { sign.hidden = box.scrollWidth <= box.clientWidth + 1; }).observe(box);
    return [sign, box];
  };
  const panel = (title, ...children) => h("section", {class: "panel"}, h("h2", {}, title), children);

  // ---- numbers ----
  const count = value => value.toLocaleString("en");
  const several = (value, name) => `${count(value)} ${name}${value === 1 ? "" : "s"}`;
  // Data is unrounded, and rounded here alone, as Python rounds: a value that lies exactly between two (odd / 2^(digits + 1)) goes to the even one.
  function fixed(value, digits) {
    const size = Math.abs(value), text = size.toFixed(digits), between = size * 2 ** (digits + 1) % 2 === 1;
    const even = between && "13579".includes(text.at(-1)) ? ((size * 10 ** digits - 0.5) / 10 ** digits).toFixed(digits) : text;
    return (value < 0 && Number(even) ? "−" : "") + even;
  }
  const score = value => value == null ? "–" : fixed(value, 3);
  const percent = value => value == null ? "–" : `${fixed(100 * value, Math.abs(value) < 0.095 ? 1 : 0)}%`;
  function number(value) {
    if (value == null) return "–";
    if (typeof value !== "number") return value;
    if (Number.isInteger(value) && Math.abs(value) < 1e9) return count(value).replace("-", "−");
    const size = Math.abs(value), places = 2 - Math.floor(Math.log10(size));
    if (size >= 1e5 || size < 1e-4) return value.toExponential(1).replace("-", "−");
    return (value < 0 ? "−" : "") + String(places < 0 ? +size.toPrecision(3) : +fixed(size, places));
  }
  const two = value => value == null ? "–" : fixed(value, 2);
  const chance = value => value == null ? "–" : value < 0.001 ? "< 0.001" : fixed(value, 3);

  // ---- names and addresses ----
  const nameOf = row => `${run.layers[run.units.layer[row]].name}:${run.units.index[row]}`;
  const shownName = row => `${run.layers[run.units.layer[row]].shown}:${run.units.index[row]}`;
  const address = row => "#" + encodeURIComponent(nameOf(row)).replace(/%3A/g, ":").replace(/%2F/g, "/");
  const label = row => run.units.concept[row] < 0 ? null : run.concepts[run.units.concept[row]];
  const verdictOf = row => run.verdicts[run.units.verdict[row]];

  function read(text) {
    try { return decodeURIComponent(text); } catch { return text; }
  }

  // ---- data: one script a layer, asked for when an image or a page of it is ---
  function layer(place) {
    if (!layers.has(place)) {
      layers.set(place, new Promise((good, bad) => {
        const inside = $(`layer-${place}`);
        if (inside) return good(JSON.parse(inside.textContent));
        waiting.set(place, good);
        document.head.append(h("script", {src: `data/layer-${place}.js`, onerror: () => bad(new Error(`data/layer-${place}.js`))}));
      }).then(unpack));
    }
    return layers.get(place);
  }

  async function inflated(text) {
    const packed = atob(text), bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
    if (!bytes.length) return bytes;
    return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
  }

  async function unpack(data) {
    data.lit = await inflated(data.lit);
    data.bits = await inflated(data.masks.bits);
    data.mask = new Map(data.masks.image.map((image, place) => [`${image} ${data.masks.concept[place]}`, place]));
    return data;
  }

  function bitmap(bytes, place, width, height) {
    const size = Math.ceil(width * height / 8), start = place * size, on = new Uint8Array(width * height);
    for (let i = 0; i < on.length; i++) on[i] = bytes[start + (i >> 3)] >> (7 - (i & 7)) & 1;
    return on;
  }

  // ---- regions ----
  // The outline of a bit map as one path of closed loops: filled by the even-odd rule it is the region, stroked it is its border.
  function outline(on, width, height, across, down) {
    const from = new Map(), at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && on[y * width + x];
    const edge = (x, y, right, below) => { const key = y * (width + 1) + x; from.has(key) ? from.get(key).push([right, below]) : from.set(key, [[right,
        below]]); };
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      if (!on[y * width + x]) continue;
      if (!at(x, y - 1)) edge(x, y, x + 1, y);
      if (!at(x + 1, y)) edge(x + 1, y, x + 1, y + 1);
      if (!at(x, y + 1)) edge(x + 1, y + 1, x, y + 1);
      if (!at(x - 1, y)) edge(x, y + 1, x, y);
    }
    const parts = [];
    for (const [key, ends] of from) while (ends.length) {
      const first = [key % (width + 1), Math.floor(key / (width + 1))];
      let [x, y] = first, level = null, path = `M${across(x)} ${down(y)}`;
      do {
        const next = from.get(y * (width + 1) + x).pop(), flat = next[1] === y;
        if (level !== null && flat !== level) path += `L${across(x)} ${down(y)}`;
        [x, y] = next; level = flat;
      } while (x !== first[0] || y !== first[1]);
      parts.push(path + "Z");
    }
    return parts.join("");
  }

  const round = value => Math.round(100 * value) / 100;
  const even = side => value => round(100 * value / side);
  // Where the border before cell i lies, in hundredths of the image: half-way between two cells' centres; the outermost cells reach the edge.
  const border = (cells, centre, jump) => i => i === 0 ? 0 : i === cells ? 100
    : round(100 * Math.max(0, Math.min(1, (centre + jump * (i - 0.5) + 0.5) / run.size)));
  const cellAt = (cells, centre, jump, side) => Int32Array.from({length: side}, (_, i) =>
    Math.max(0, Math.min(cells - 1, Math.round(((i + 0.5) * run.size / side - 0.5 - centre) / jump))));

  function agreement(region, mask, where) {
    const [cy, cx, jy, jx] = where.place, rows = cellAt(where.rows, cy, jy, run.side), columns = cellAt(where.columns, cx, jx, run.side);
    return mask.map((on, i) => on & region[rows[Math.floor(i / run.side)] * where.columns + columns[i % run.side]]);
  }

  // The drawing over a photograph: what the unit lights, the concept's mask, and where they agree.
  function overlay(data, where, unit, rank, image, concept) {
    const has = where.rows * where.columns > 1 && data.lit.length && rank != null;
    const [cy, cx, jy, jx] = where.place, made = s("svg", {viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true"});
    const region = has ? bitmap(data.lit, unit * run.ranks + rank, where.columns, where.rows) : null;
    const place = concept == null ? undefined : data.mask.get(`${image} ${concept}`);
    const mask = place === undefined ? null : bitmap(data.bits, place, run.side, run.side);
    const lines = (name, path, fill) => s("g", {class: name}, fill && s("path", {class: "fill", d: path, ...fill}),
      name !== "both" && [s("path", {class: "under", d: path}), s("path", {class: "over", d: path})]);
    const lit = region && outline(region, where.columns, where.rows, border(where.columns, cx, jx), border(where.rows, cy, jy));
    if (region) made.append(s("path", {class: "dim", d: "M0 0H100V100H0Z" + lit}));
    if (mask) {
      const step = even(run.side);
      made.append(lines("mask", outline(mask, run.side, run.side, step, step), {}));
      if (region) made.append(lines("both", outline(agreement(region, mask, where), run.side, run.side, step, step), {fill: "url(#hatch)"}));
    }
    if (region) made.append(lines("region", lit));
    return made;
  }

  function photograph(image, alt) {
    const gone = () => h("span", {class: "gone"}, run.images.file[image] ? "The image's file is not in this folder." : run.gone);
    if (!run.images.file[image]) return gone();
    const source = $("photos") ? photos()[image] : `images/${image}.jpg`;
    const made = h("img", {src: source, alt, loading: "lazy", decoding: "async"});
    made.addEventListener("error", () => made.replaceWith(gone()));
    return made;
  }
  let inside = null;
  const photos = () => inside || (inside = JSON.parse($("photos").textContent));

  // ---- the whole ----
  function figures() {
    const detectors = run.units.detects.filter(Boolean).length, given = word => run.units.verdict.filter(place => run.verdicts[place] === word).length;
    const one = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, value, more && h("small", {}, more)));
    return h("dl", {class: "figures"},
      one("Units", count(run.units.index.length), several(run.layers.length, "layer")),
      one("Detectors", count(detectors), run.rule),
      one("Concepts found", count(run.unique), `of ${count(run.concepts.length)}`),
      one("Images", count(run.total)),
      run.tested && one("Labels that hold", count(given("holds")), `of ${count(given("holds") + given("fails"))} tested`));
  }

  const key = () => h("ul", {class: "key"}, run.categories.map((name, place) => h("li", {}, h("i", {class: `k${place % 8}`}), word(name))));

  function layerTable() {
    const most = Math.max(1, ...run.layers.map(one => one.detectors));
    const rows = run.layers.map((one, place) => {
      const bar = wide(one.detectors / most, "div");
      one.by.forEach((some, category) => {
        if (!some) return;
        const part = h("span", {class: `k${category % 8}`, title: `${run.categories[category]}: ${some}`});
        part.style.flex = `${some} 0 0`;
        bar.append(part);
      });
      return h("tr", {}, first(h("a", {href: filterAddress({layer: place})}, word(one.shown))), h("td", {class: "stack"}, bar),
        end(count(one.detectors)), end(count(one.unique)), end(count(one.units), "soft"));
    });
    const headings = [heading("Layer"), heading("By category"), heading("Detectors", "end"), heading("Concepts", "end"), heading("Units", "end")];
    const exact = table([heading("Layer"), run.categories.map(name => heading(word(name), "end"))],
      run.layers.map(one => h("tr", {}, first(word(one.shown)), one.by.map(some => end(count(some))))));
    return h("div", {class: "panel"}, h("h2", {}, "Detectors by layer"), h("p", {}, `Units whose best concept has ${run.rule}.`),
      scroll("Detectors by layer", table(headings, rows)), key(),
      h("details", {class: "more small"}, h("summary", {class: "soft"}, "The same in numbers"), scroll("Detectors by layer and category", exact)),
      scoreFigure());
  }

  // Ticks of an axis from 0: at most `most` of them, at 1, 2 or 5 times a power of ten.
  function ticksTo(end, most) {
    const rough = 10 ** Math.floor(Math.log10(end / most)), step = [1, 2, 5, 10].map(by => by * rough).find(by => end / by <= most);
    return Array.from({length: Math.floor(end / step + 1e-9) + 1}, (_, i) => Number((i * step).toPrecision(6)));
  }

  // Units by their best score; heights are square roots, so that a single unit is seen.
  function scoreFigure() {
    const width = 560, height = 210, left = 58, right = 12, top = 24, bottom = 50, floor = height - bottom;
    // A bin ends where detectors begin, so that none holds both.
    const below = Math.round(40 * Math.min(run.detects, run.most) / run.most), step = below > 0 ? Math.min(run.detects, run.most) / below : run.most / 40;
    const bins = Math.floor(run.most / step * 1.0001) + 1, most = bins * step;
    const each = Array(bins).fill(0), across = (width - left - right) / bins, x = value => left + (width - left - right) * value / most;
    for (const value of run.units.score) each[Math.floor(value / step)]++;
    const peak = Math.max(...each), tall = some => (floor - top) * Math.sqrt(some / peak), mark = x(run.detects), late = mark > width * 0.6;
    const detectors = several(run.units.detects.filter(Boolean).length, "unit");
    const said = `Units by their best ${run.measure}, from 0 to ${score(run.most)}: ${detectors} beyond ${run.detects}.`;
    const made = s("svg", {class: "curve scores", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said});
    const write = (at, down, text, anchor = "middle") => made.append(s("text", {x: round(at), y: round(down), "text-anchor": anchor}, text));
    const line = (x1, x2, y1, y2, name = "") =>
      made.append(s("line", {class: name, x1: round(x1), x2: round(x2), y1: round(y1), y2: round(y2)}));
    const heights = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000].filter(some => some <= peak);
    const apart = heights.reduceRight((kept, some) => !kept.length || tall(kept[0]) - tall(some) >= 26 ? [some, ...kept] : kept, []);
    for (const some of [0, ...apart.filter(some => tall(some) >= 26)]) {      // far enough apart to be read
      if (some) line(left, width - right, floor - tall(some), floor - tall(some));
      write(left - 7, floor - tall(some) + 5, count(some), "end");
    }
    each.forEach((some, i) => some && made.append(s("rect", {x: round(left + i * across + 0.5), y: round(floor - tall(some)), width: round(across - 1),
      height: round(tall(some)), class: (i + 0.5) * step > run.detects ? "above" : "below"},
    s("title", {}, `${several(some, "unit")} from ${score(i * step)} to ${score((i + 1) * step)}`))));
    line(left, width - right, floor, floor);
    for (const value of ticksTo(run.most, 6)) {
      line(x(value), x(value), floor, floor + 5);
      write(x(value), floor + 20, String(value));
    }
    line(mark, mark, 4, floor, "mark-line");
    write(mark + (late ? -5 : 5), 15, `detectors: ${run.rule}`, late ? "end" : "start");
    write((left + width - right) / 2, height - 5, `best ${run.measure} of a unit`);
    write(left - 7, 15, "units", "end");
    return [h("h3", {class: "later"}, `Units by their best ${run.measure}`), made,
      h("p", {class: "small soft"}, "Heights are square roots of numbers, so that a single unit is seen.")];
  }

  function conceptTable() {
    const best = run.concepts.map((one, place) => [one[2], place]).filter(([some]) => some).sort((a, b) => b[0] - a[0] || a[1] - b[1]).slice(0, 10);
    const most = Math.max(1, ...best.map(([some]) => some));
    const rows = best.map(([some, place]) => h("tr", {},
      first(h("a", {href: filterAddress({concept: place, verdict: "detects"})}, word(run.concepts[place][0]))),
      h("td", {}, h("div", {class: "level"}, wide(some / most))), end(count(some)), end(count(run.concepts[place][3]), "soft")));
    return h("div", {class: "panel"}, h("h2", {}, "Concepts found most"), rows.length === 0 ? h("p", {}, `No unit reaches ${run.rule}.`)
      : [h("p", {}, "By the number of their detectors."),
        scroll("Concepts found most", table([heading("Concept"), heading(""), heading("Detectors", "end"), heading("Images", "end")], rows))]);
  }

  function listed(title, texts) {
    return texts.length > 0 && [h("h3", {}, title), h("ul", {class: "problems"}, texts.map(text => h("li", {}, word(text))))];
  }

  function madeSection() {
    return h("section", {id: "made", tabindex: "-1", "aria-labelledby": "made-title"}, h("h2", {id: "made-title"}, "How it was made"),
      h("div", {class: "panel"}, h("p", {}, `${run.again.startsWith("dissect(") ? "In Python, this call" : "This command"} makes it again:`),
        h("pre", {class: "again", tabindex: "0", role: "region", "aria-label": "What makes it again"}, h("code", {}, run.again)),
        h("dl", {class: "facts"}, run.made.map(([name, text]) => [h("dt", {}, name), h("dd", {}, word(text))])),
        listed("Left out", run.problems), listed("Notes", run.noted || [])));
  }

  // ---- the gallery ----
  const controls = {};
  const SORTS = {score: "Score", unit: "Layer and unit", concept: "Concept", "": null};
  const PLAIN = {q: "", layer: "", concept: "", category: "", verdict: "", least: "", sort: "score"};

  function filterAddress(chosen) {
    const asked = Object.entries(chosen).map(([name, value]) => [name, String(value)]).filter(([name, value]) => value !== PLAIN[name]);
    return asked.length ? `#?${new URLSearchParams(asked)}` : "#units";
  }

  function choice(name, title, options) {
    return field(name, title, h("select", {onchange: changed}, options.map(([value, text]) => h("option", {value}, text))));
  }

  function field(name, title, control) {
    controls[name] = control;
    control.id = `by-${name}`;
    return h("div", {}, h("label", {for: control.id}, title), control);
  }

  function tools() {
    const search = h("input", {type: "search", placeholder: "dog, or conv5_3:132", autocomplete: "off", spellcheck: "false", oninput: changed});
    const least = h("input", {type: "number", min: "0", max: "1", step: "0.01", placeholder: "0", inputmode: "decimal", oninput: changed});
    const used = new Set(run.units.concept), all = [["", "All"]];
    const concepts = run.concepts.map((one, place) => [String(place), one[0]]).filter(([place]) => used.has(+place)).sort((a, b) => a[1].localeCompare(b[1]));
    const tested = run.tested ? [["holds", "Holds"], ["fails", "Fails"], ["too few images", "Too few images"], ["untested", "Untested"]] : [];
    const verdicts = [...all, ["detects", `Detector (${run.rule})`], ...tested, ["no detector", "No detector"]];
    return h("form", {class: "tools", role: "search", "aria-label": "Units", onsubmit: event => event.preventDefault()},
      field("q", "Concept or unit", search),
      choice("layer", "Layer", [...all, ...run.layers.map((one, place) => [String(place), one.shown])]),
      choice("category", "Category", [...all, ...run.categories.map((name, place) => [String(place), name])]),
      choice("concept", "Label", [...all, ...concepts]),
      choice("verdict", "Verdict", verdicts),
      field("least", `${run.measure} from`, least),
      choice("sort", "Sort by", Object.entries(SORTS).filter(([, text]) => text)));
  }

  function asked() { return Object.fromEntries(Object.keys(PLAIN).map(name => [name, controls[name].value])); }

  function changed() {
    page = 0;
    history.replaceState(null, "", filterAddress(asked()));
    arrange();
  }

  function arrange() {
    const {q, layer, concept, category, verdict, least, sort} = asked(), units = run.units, words = q.trim().toLowerCase(), from = parseFloat(least) || 0;
    const judged = verdict === "" ? () => true : verdict === "detects" ? row => units.detects[row] : row => verdictOf(row) === verdict;
    order = [];
    for (let row = 0; row < units.index.length; row++) {
      if (layer !== "" && units.layer[row] !== +layer) continue;
      if (concept !== "" && units.concept[row] !== +concept) continue;
      if (category !== "" && (units.concept[row] < 0 || label(row)[1] !== +category)) continue;
      if (units.score[row] < from || !judged(row)) continue;
      if (words && !run.words[row].includes(words)) continue;
      order.push(row);
    }
    const name = row => label(row) ? label(row)[0] : "\uffff", byScore = (a, b) => units.score[b] - units.score[a] || a - b;
    if (sort === "score") order.sort(byScore);
    if (sort === "concept") order.sort((a, b) => name(a).localeCompare(name(b)) || byScore(a, b));
    drawn = false;
    if (!$("whole").hidden) show();
  }

  function show(focus) {
    drawn = true;
    const pages = Math.max(1, Math.ceil(order.length / PAGE));
    page = Math.max(0, Math.min(page, pages - 1));
    const every = several(run.units.index.length, "unit"), some = order.length === run.units.index.length ? every : `${count(order.length)} of ${every}`;
    $("count").replaceChildren(pages > 1 ? `${some}, page ${page + 1} of ${pages}` : some);
    $("clear").hidden = filterAddress({...asked(), sort: "score"}) === "#units";
    $("gallery").replaceChildren(...order.slice(page * PAGE, (page + 1) * PAGE).map(card));
    const turn = (step, text) =>
      h("button", {type: "button", disabled: page + step < 0 || page + step >= pages, onclick: () => { page += step; show(true); }}, text);
    $("pages").replaceChildren(...(pages > 1 ? [turn(-1, "← Previous"), h("span", {class: "number"}, `${page + 1} / ${pages}`), turn(1, "Next →")] : []));
    if (!order.length) $("gallery").replaceChildren(h("li", {class: "soft"}, "No unit fits. Ask for less, or clear the filters."));
    if (focus) { $("units").scrollIntoView(); $("units").focus({preventScroll: true}); }
  }

  const chip = row => ["holds", "fails"].includes(verdictOf(row)) &&
    h("span", {class: `chip ${verdictOf(row)}`}, h("span", {"aria-hidden": "true"}, verdictOf(row) === "holds" ? "✓" : "✕"), verdictOf(row));

  function card(row) {
    const units = run.units, mine = label(row), strip = h("div", {class: "strip", "aria-hidden": "true"});
    if (run.ranks) {
      const empty = Array.from({length: STRIP}, () => h("div", {class: "image"}));
      strip.append(...empty);
      layer(units.layer[row]).then(data => drawStrip(data, row, empty), () => {});
    }
    const meter = h("div", {class: "meter", "aria-hidden": "true"}, wide(units.score[row] / run.most));
    const name = h("span", {class: "name"}, mine ? word(mine[0]) : h("span", {class: "soft"}, "no concept"));
    const where = h("span", {}, word(shownName(row)), mine && [` · ${several(mine[3], "image")} · `, word(run.categories[mine[1]])]);
    return h("li", {}, h("a", {class: "unit", href: address(row)}, run.ranks > 0 && strip, h("div", {class: "words"},
      h("div", {class: "line"}, name, h("span", {class: "number"}, score(units.score[row]))), h("div", {class: "line small soft"}, where, chip(row)), meter)));
  }

  function drawStrip(data, row, empty) {
    const unit = row - run.layers[run.units.layer[row]].first, where = run.layers[run.units.layer[row]];
    empty.forEach((box, rank) => {
      const image = data.top ? data.top[unit][rank] : -1;
      if (image == null || image < 0) return;
      box.append(photograph(image, ""), overlay(data, where, unit, rank, image, null));
    });
  }

  // ---- one unit ----
  async function unitPage(row) {
    const box = $("one"), where = run.layers[run.units.layer[row]], unit = row - where.first;
    box.replaceChildren(...titleOf(row), h("p", {class: "soft", role: "status"}, "Reading …"));
    let data;
    try { data = await layer(run.units.layer[row]); }
    catch (error) {
      const lost = `${error.message}: is not beside this page, or cannot be read. Copy the whole folder of the report.`;
      if (at() === row) box.lastChild.replaceWith(h("p", {class: "note"}, lost));
      return;
    }
    if (at() !== row) return;
    const state = {row, unit, where, data, concept: run.units.concept[row] < 0 ? null : run.units.concept[row]};
    box.lastChild.remove();
    box.append(imagesOf(state), conceptsOf(state),
      h("div", {class: "panels"}, factsOf(state), run.sections.map((section, place) => !section.missing && sectionOf(state, section, place))),
      ...[outcomesOf(state), missing()].filter(Boolean));
  }

  function neighbours(row) {
    const list = order.includes(row) ? order : run.units.index.map((_, i) => i), here = list.indexOf(row);
    return [list[here - 1], list[here + 1]];
  }

  function titleOf(row) {
    const mine = label(row), [before, after] = neighbours(row), units = run.units;
    const step = (to, text, rel) => to == null ? h("button", {disabled: true, type: "button"}, text) : h("a", {class: "button", rel, href: address(to)}, text);
    const flags = [units.dead[row] && "dead: one value everywhere", units.sparse[row] && "sparse: seldom active, so that any activity counts"].filter(Boolean);
    const steps = h("div", {}, step(before, "← Previous", "prev"), step(after, "Next →", "next"));
    return [h("nav", {class: "path", "aria-label": "Units"}, h("a", {href: filterAddress(asked())}, "← All units"), steps),
      h("h1", {tabindex: "-1", id: "unit-title"}, mine ? word(mine[0]) : "No concept"),
      h("div", {class: "under-title"}, h("code", {}, word(shownName(row))), mine && h("span", {}, word(run.categories[mine[1]]), `, shown by ${several(mine[3], "image")}`),
        h("span", {class: "number"}, `${run.measure} `, h("b", {}, score(units.score[row]))),
        h("span", {class: "chip"}, units.detects[row] ? `detector (${run.rule})` : `no detector (${run.rule})`), chip(row),
        verdictOf(row) === "fails" && h("span", {class: "small"}, `in ${units.failed[row]}`), flags.map(text => h("span", {class: "chip"}, text)))];
  }

  const swatch = kind => s("svg", {class: "swatch", viewBox: "0 0 28 18", "aria-hidden": "true"}, kind === "both"
    ? s("rect", {x: 4, y: 4, width: 20, height: 10, fill: "url(#hatch)"})
    : s("g", {class: kind}, s("rect", {x: 4, y: 4, width: 20, height: 10, class: "under"}), s("rect", {x: 4, y: 4, width: 20, height: 10, class: "over"})));

  function imagesOf(state) {
    const {data, unit, where} = state;
    if (!run.ranks || !data.top) return panel("Where it fires most", h("p", {}, run.ranks ? "No images of this layer were kept." : run.noimages));
    const some = data.top[unit].map((image, rank) => [image, rank]).filter(([image]) => image >= 0), list = h("ul", {class: "images"});
    state.legend = h("span", {});
    state.draw = () => {
      if (state.concept != null) state.legend.replaceChildren(word(run.concepts[state.concept][0]));
      list.replaceChildren(...some.map(([image, rank]) => h("li", {}, imageOf(state, image, rank))));
    };
    state.draw();
    const toggle = kind => event => list.classList.toggle(`no-${kind}`, !event.target.checked);
    const tick = (kind, text) => h("label", {}, h("input", {type: "checkbox", checked: true, onchange: toggle(kind)}), swatch(kind), text);
    const maps = where.rows * where.columns > 1, points = `${run.side} × ${run.side} points`;
    const said = maps ? `The ${several(some.length, "image")} with its largest activations. Lit are the layer's own ${where.rows} × ${where.columns} cells ` +
      `above its threshold; the ${run.measure} is measured on the map interpolated to ${points}, where regions have finer borders.`
      : "This layer has no maps: the unit answers to an image as a whole, so no place in it can be shown.";
    return h("section", {"aria-labelledby": "images-title"}, h("h2", {id: "images-title"}, "Where it fires most"), h("p", {class: "soft small"}, said),
      !some.some(([image]) => run.images.file[image]) && h("p", {class: "note"}, run.gone),
      maps && h("fieldset", {class: "shows"}, h("legend", {class: "unseen"}, "Shown over the images"), tick("region", "the unit"),
        state.concept != null && [tick("mask", state.legend), tick("both", "both")]),
      list);
  }

  function imageOf(state, image, rank) {
    const {data, unit, where, concept} = state, name = run.images.name[image], shows = concept != null && data.mask.has(`${image} ${concept}`);
    const mine = concept == null ? "" : run.concepts[concept][0], peak = data.peak[unit][rank];
    const told = concept == null ? "" : shows ? ` Shows ${mine}.` : ` Does not show ${mine}.`;
    const alt = `Image ${rank + 1}, ${name}. Largest activation ${number(peak)}.${told}`;
    return h("figure", {}, h("div", {class: "image"}, photograph(image, alt), overlay(data, where, unit, rank, image, concept)),
      h("figcaption", {}, h("span", {title: name}, word(name)), h("span", {class: "number", title: "largest activation"}, number(peak))));
  }

  function conceptsOf(state) {
    const {data, unit} = state, rows = data.concepts[unit];
    const known = ["uniform", "positional"].filter(name => data[name] && data[name][unit].some(value => value != null));
    if (!rows.length) return panel("Concepts", h("p", {}, "It shares no pixel with any concept."));
    const most = Math.max(run.detects, ...data.scores[unit], ...known.flatMap(name => data[name][unit])) * 1.05 || 1;
    const body = rows.map((concept, place) => {
      const [name, , , images] = run.concepts[concept], bar = h("div", {class: "level", "aria-hidden": "true"}, wide(data.scores[unit][place] / most));
      for (const level of known) {
        const tick = h("b", {class: level});
        tick.style.left = `${100 * data[level][unit][place] / most}%`;
        bar.append(tick);
      }
      const pick = h("input", {type: "radio", name: "shown", checked: concept === state.concept, "aria-label": `Show ${name} in the images`,
        onchange: () => { state.concept = concept; if (state.draw) state.draw(); }});
      return h("tr", {}, run.ranks > 0 && h("td", {}, pick), first(word(name)), h("td", {}, bar), end(score(data.scores[unit][place])),
        known.map(level => end(score(data[level][unit][place]), "soft")), end(count(images), "soft"));
    });
    const levels = known.map(level => heading(level[0].toUpperCase() + level.slice(1), "end"));
    const headings = [run.ranks > 0 && heading("Show"), heading("Concept"), heading(run.measure), heading(""), levels, heading("Images", "end")];
    const said = "The ticks in the bars are what chance gives: as if places did not matter (dashed), and as if only places did.";
    return panel("Concepts", h("p", {}, "Its label first, then the runners-up. ", known.length ? said : run.nochance),
      scroll("Concepts of this unit", table(headings.flat().filter(Boolean), body)));
  }

  function factsOf(state) {
    const facts = state.data.facts[state.unit], shown = place => run.factKinds[place] === "share" ? percent(facts[place]) : number(facts[place]);
    return panel("In numbers", h("dl", {class: "facts"},
      run.facts.map((name, place) => facts[place] != null && [h("dt", {}, name), h("dd", {}, shown(place))])));
  }

  // ---- what the rooms add: facts, tables, curves and sentences ----
  const link = name => places.has(name) ? h("a", {href: address(places.get(name))}, word(shownName(places.get(name)))) : word(name || "–");
  const cells = {
    text: value => h("td", {}, word(value == null || value === "" ? "–" : String(value))),
    unit: value => h("td", {}, link(value)),
    yes: value => h("td", {}, value == null ? "–" : value ? "yes" : "no"),
    number: value => end(number(value)),
    round: value => end(two(value)),
    score: value => end(score(value)),
    q: value => end(chance(value)),
    share: value => h("td", {}, signed(value, 1, percent(value))),
    r: value => h("td", {}, signed(value, 1, two(value))),
  };
  const ends = new Set(["number", "round", "score", "q", "share", "r"]);

  function signed(value, most, text) {
    const bar = h("i", {class: value < 0 && "less"}), size = Math.min(1, Math.abs(value || 0) / most) * 50;
    bar.style.width = `${size}%`; bar.style.left = `${value < 0 ? 50 - size : 50}%`;
    return h("div", {class: "sign"}, h("div", {"aria-hidden": "true"}, bar), h("span", {}, text));
  }

  const kinds = {
    note: (part, value) => h("p", {}, word(value)),
    facts: (part, value) => h("dl", {class: "facts"}, part.names.map((name, i) => {
      const drawn = cells[part.kinds[i] || "text"](value[i]);
      return [h("dt", {}, name), h("dd", {}, ...drawn.childNodes)];
    })),
    table: (part, rows) => scroll(part.title, table(part.names.map((name, i) => heading(name, ends.has(part.kinds[i]) && "end")),
      rows.map(row => h("tr", {}, row.map((value, i) => cells[part.kinds[i] || "text"](value)))))),
    curves: (part, curves) => [curveFigure(part, curves), h("ul", {class: "key"}, curves.map(([name], i) =>
      h("li", {}, s("svg", {viewBox: "0 0 27 11", "aria-hidden": "true"}, s("path", {class: `c${i % 5}`, d: "M1 5.5H26"})), word(name))))],
  };

  function curveFigure(part, curves) {
    const width = 460, height = 220, left = 42, right = width - 10, top = 10, floor = height - 36;
    const low = Math.log10(Math.min(...part.x)), high = Math.log10(Math.max(...part.x));
    const peak = Math.max(1e-9, ...curves.flatMap(([, values]) => values)) * 1.08;
    const x = value => left + (right - left) * (high > low ? (Math.log10(value) - low) / (high - low) : 0.5), y = value => floor - (floor - top) * value / peak;
    const step = 10 ** Math.floor(Math.log10(peak)), tick = [0.2, 0.5, 1, 2].map(by => by * step).find(by => peak / by <= 5) || step * 5;
    const best = values => values.indexOf(Math.max(...values));
    const said = curves.map(([name, values]) => `${name}: at most ${score(values[best(values)])}, at ${number(part.x[best(values)])}`).join("; ");
    const made = s("svg", {class: "curve", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${part.names[1]} against ${part.names[0]}. ${said}`});
    const write = (at, down, text, anchor) => made.append(s("text", {x: at, y: down, "text-anchor": anchor}, text));
    const line = (name, x1, x2, y1, y2) => made.append(s("line", {class: name, x1, x2, y1, y2}));
    for (let value = 0; value <= peak; value += tick) {
      line("", left, right, y(value), y(value));
      write(left - 6, y(value) + 4, number(value), "end");
    }
    for (const value of [0.0001, 0.001, 0.01, 0.1, 1].filter(value => Math.log10(value) >= low - 1e-9 && Math.log10(value) <= high + 1e-9))
      write(x(value), floor + 16, String(value), "middle");
    write((left + right) / 2, height - 4, part.names[0], "middle");
    if (part.mark) {
      line("mark-line", x(part.mark), x(part.mark), top, floor);
      write(x(part.mark) + 5, top + 9, part.marked, "start");
    }
    const path = values => "M" + values.map((value, j) => `${round(x(part.x[j]))} ${round(y(value))}`).join("L");
    curves.forEach(([, values], i) => made.append(s("path", {class: `c${i % 5}`, d: path(values)})));
    return made;
  }

  function sectionOf(state, section, place) {
    const parts = section.parts.map((part, i) => [part, state.data.sections[place][i][state.unit]]).filter(([, value]) => value != null);
    return panel(section.title, section.why && h("p", {}, section.why),
      parts.length ? parts.map(([part, value]) => kinds[part.kind](part, value)) : h("p", {}, "It does not tell of this unit."));
  }

  function missing() {
    const some = run.sections.filter(section => section.missing);
    return some.length > 0 && h("section", {class: "panel quiet"}, h("h2", {}, "Not here yet"),
      h("dl", {class: "facts"}, some.map(section => [h("dt", {}, section.title), h("dd", {}, word(section.missing))])));
  }

  function outcomesOf(state) {
    const {data, unit, where} = state, mine = label(state.row), outcomes = data.outcomes && data.outcomes[unit];
    if (!mine || !outcomes || !outcomes.length) return null;
    const has = {1: "Shows it", 0: "Does not show it", "-1": "Not annotated for it"}, said = {1: ", class said", 0: ", class not said"};
    const one = image => h("div", {class: "image", title: run.images.name[image]}, photograph(image, run.images.name[image]),
      overlay(data, where, unit, rankOf(data, unit, image), image, state.concept));
    const cases = outcomes.map(([present, fires, says, number, images]) => h("div", {},
      h("h3", {}, `${has[present]}, unit ${fires ? "fires" : "is silent"}${said[says] || ""}`, h("span", {}, several(number, "image"))),
      h("div", {class: "few"}, images.map(one))));
    const any = h("div", {}, h("h3", {}, "Any, at random", h("span", {}, several(run.total, "image"))), h("div", {class: "few"}, run.images.random.map(one)));
    return panel("By outcome", h("p", {}, "Is ", word(mine[0]), " in the image, and does the unit fire anywhere in it? A few images of each case: the ",
      "strongest where it fires, the weakest where it is silent. To compare them with: a few drawn at random, the same for every unit."),
      h("div", {class: "outcomes"}, cases, any));
  }

  const rankOf = (data, unit, image) => { const rank = data.top ? data.top[unit].indexOf(image) : -1; return rank < 0 ? null : rank; };

  // ---- where we are ----
  function at() {
    const words = location.hash.slice(1);
    return words.startsWith("?") || !words.includes(":") && !words.includes("%3A") ? null : places.has(read(words)) ? places.get(read(words)) : words;
  }

  function go() {
    const where = at(), whole = $("whole"), one = $("one");
    if (!whole.hidden) lastMain = lastScroll;
    if (where === null) {
      const back = whole.hidden, words = location.hash.slice(1);
      whole.hidden = false; one.hidden = true; one.replaceChildren();
      document.title = run.title;
      if (words.startsWith("?") || words === "units" && filterAddress(asked()) !== "#units") {
        const wanted = {...PLAIN, ...Object.fromEntries(new URLSearchParams(words.startsWith("?") ? words.slice(1) : ""))};
        const differs = filterAddress(wanted) !== filterAddress(asked());
        for (const name of Object.keys(PLAIN)) controls[name].value = wanted[name];
        for (const name of ["layer", "concept", "category", "verdict", "sort"]) if (controls[name].selectedIndex < 0) controls[name].value = PLAIN[name];
        if (differs) { page = 0; arrange(); }
      }
      if (!drawn) show();
      if (back && (words.startsWith("?") || words === "units" || words === "")) scrollTo(0, lastMain);
      else if (["summary", "units", "made"].includes(words) || words.startsWith("?")) {
        const target = $(words.startsWith("?") ? "units" : words);
        target.scrollIntoView(); target.focus({preventScroll: true});
      }
      return;
    }
    whole.hidden = true; one.hidden = false;
    document.title = typeof where === "number" ? `${label(where) ? label(where)[0] : "no concept"}, ${shownName(where)} – ${run.title}` : run.title;
    if (typeof where === "number") unitPage(where);
    else one.replaceChildren(h("h1", {tabindex: "-1", id: "unit-title"}, "No such unit"),
      h("p", {}, "There is no unit ", h("code", {}, word(read(where).slice(0, 120))), " in this report."),
      h("p", {}, h("a", {href: "#units"}, "← All units")));
    scrollTo(0, 0);
    $("unit-title").focus({preventScroll: true});
  }
  let lastScroll = 0;

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const row = at(), to = step => { const next = neighbours(row)[step]; if (next != null) location.hash = address(next); };
    if (event.key === "/" && row === null) { event.preventDefault(); controls.q.focus(); controls.q.select(); }
    if (typeof row !== "number" || event.target.closest && event.target.closest(".scroll")) return;
    if (event.key === "ArrowLeft") to(0);
    if (event.key === "ArrowRight") to(1);
    if (event.key === "Escape") location.hash = filterAddress(asked());
  }

  function start(data) {
    run = data;
    const units = run.units;
    run.layers.forEach((one, place) => { one.first = units.layer.indexOf(place); });
    run.most = units.score.reduce((most, value) => Math.max(most, value), run.detects) || 1;
    run.words = units.index.map((_, row) => [shownName(row), ...(label(row) ? [label(row)[0], run.categories[label(row)[1]]] : [])].join("\n").toLowerCase());
    units.index.forEach((_, row) => places.set(nameOf(row), row));
    const clear = () => {
      for (const name of Object.keys(PLAIN)) if (name !== "sort") controls[name].value = PLAIN[name];
      changed();
      controls.q.focus();
    };
    $("whole").append(h("p", {class: "lead"}, ...run.lead.map((text, i) => i % 2 ? h("b", {}, word(text)) : text)), figures(),
      ...([...document.scripts].some(one => one.src) ? run.pages : []).map(([text, file]) => h("p", {class: "lead"}, h("a", {href: file}, text))),
      ...run.notes.map(text => h("p", {class: "note"}, word(text))),
      h("section", {class: "pair", "aria-label": "Summary"}, layerTable(), conceptTable()),
      h("section", {id: "units", tabindex: "-1", "aria-labelledby": "units-title"}, h("h2", {id: "units-title"}, "Units"), tools(),
        h("div", {class: "count"}, h("span", {id: "count", role: "status"}),
          h("button", {type: "button", id: "clear", hidden: true, onclick: clear}, "Clear filters")),
        h("ul", {class: "gallery", id: "gallery"}), h("div", {class: "pages", id: "pages"})),
      madeSection());
    for (const name of Object.keys(PLAIN)) controls[name].value = PLAIN[name];
    $("whole").hidden = at() !== null;
    arrange();
    addEventListener("hashchange", go);
    addEventListener("scroll", () => { if (!$("whole").hidden) lastScroll = scrollY; }, {passive: true});
    addEventListener("keydown", keys);
    document.querySelector("a.skip").addEventListener("click", event => {
      event.preventDefault();
      ($("one").hidden ? $("summary") : $("unit-title")).focus();
    });
    for (const link of document.querySelectorAll(".bar a")) link.addEventListener("click", () => { if (location.hash === link.hash) go(); });
    if (location.hash) go();
  }

  return {
    run: start,
    shown: {score, percent, number, two, chance},      // how numbers are put in words
    layer: (place, data) => { const good = waiting.get(place); waiting.delete(place); if (good) good(data); },
  };
})();

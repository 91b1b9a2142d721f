// The images of the explorer: an ES module for anywidget. It asks no server for anything, and all names from data are set as text.
// A gallery shows the region of a unit in each image and tells Python where the pointer is; a bench is an image to paint on.

const raw = view => !view ? new Uint8Array(0) : view.buffer ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array(view);
const numbers = (view, kind) => new kind(raw(view).slice().buffer);
const round = Math.fround;

function h(name, traits = {}, ...inner) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(traits)) key in made && !key.includes("-") ? made[key] = value : made.setAttribute(key, value);
  made.append(...inner.filter(one => one !== null && one !== undefined && one !== false));
  return made;
}
const word = text => h("bdi", {textContent: text});
const said = value => !Number.isFinite(value) ? "–" : value === 0 ? "0" : Math.abs(value) >= 1000 || Math.abs(value) < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));

// JupyterLab takes plain keys as commands (d d deletes a cell) unless the very element that has the focus says not to. Elsewhere the
// mark means nothing.
function suppressed(event) {
  const at = event.target;
  if (at instanceof Element && at.closest(".ide-root, .ide")) at.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey || event.altKey));
}

// Controls of ipywidgets that have no name for a screen reader get the words beside them. Where a notebook builds them otherwise,
// nothing is found, and nothing is lost but that.
function named(inside) {
  for (const one of inside.closest(".ide-root")?.querySelectorAll(".noUi-handle, input:is([type=color], [type=text]), select") || []) {
    const label = one.closest(".jupyter-widgets")?.querySelector(".widget-label"), text = one.title || label?.textContent || "";
    if (text && (!one.labels?.length || !label?.textContent)) one.setAttribute("aria-label", text);
  }
}

// ---- regions: the same float32 steps as `probe.mix`, so that a pixel is lit here where it is lit there

const frameOf = frame => ({side: frame.side, height: frame.height, width: frame.width,
  rows: ["low", "high"].map(name => numbers(frame.rows[name], Int32Array)).concat([numbers(frame.rows.share, Float32Array)]),
  columns: ["low", "high"].map(name => numbers(frame.columns[name], Int32Array)).concat([numbers(frame.columns.share, Float32Array)])});

const mix = (low, high, share) => Math.min(round(round(low * round(1 - share)) + round(high * share)), Math.max(low, high));

function enlarge(map, {side, width, rows, columns}) {
  const tall = new Float32Array(side * width), wide = new Float32Array(side * side);
  for (let r = 0; r < side; r++) for (let x = 0; x < width; x++)
    tall[r * width + x] = mix(map[rows[0][r] * width + x], map[rows[1][r] * width + x], rows[2][r]);
  for (let r = 0; r < side; r++) for (let c = 0; c < side; c++)
    wide[r * side + c] = mix(tall[r * width + columns[0][c]], tall[r * width + columns[1][c]], columns[2][c]);
  return wide;
}

const above = (values, limit) => Uint8Array.from(values, value => value > limit);

function unpacked(bytes, side) {
  const on = new Uint8Array(side * side);
  for (let i = 0; i < on.length; i++) on[i] = bytes[i >> 3] >> (7 - (i & 7)) & 1;
  return on;
}
function packed(on) {
  const bytes = new Uint8Array(Math.ceil(on.length / 8));
  on.forEach((one, i) => { if (one) bytes[i >> 3] |= 1 << (7 - (i & 7)); });
  return bytes;
}

// The border of a bit map as closed loops, in shares of the image.
function outline(on, side) {
  const from = new Map(), path = new Path2D(), at = (x, y) => x >= 0 && y >= 0 && x < side && y < side && on[y * side + x];
  const edge = (x, y, right, below) => { const key = y * (side + 1) + x; from.has(key) ? from.get(key).push([right, below]) : from.set(key, [[right, below]]); };
  for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) {
    if (!on[y * side + x]) continue;
    if (!at(x, y - 1)) edge(x, y, x + 1, y);
    if (!at(x + 1, y)) edge(x + 1, y, x + 1, y + 1);
    if (!at(x, y + 1)) edge(x + 1, y + 1, x, y + 1);
    if (!at(x - 1, y)) edge(x, y + 1, x, y);
  }
  for (const [key, ends] of from) while (ends.length) {
    const start = [key % (side + 1), Math.floor(key / (side + 1))];
    let [x, y] = start;
    path.moveTo(x / side, y / side);
    do {
      [x, y] = from.get(y * (side + 1) + x).pop();
      path.lineTo(x / side, y / side);
    } while (x !== start[0] || y !== start[1]);
    path.closePath();
  }
  return path;
}

// ---- drawing

const REGION = "#ffb224", MASK = "#4db5f0", GROUND = "#39424b";

function veil(on, side, paint) {
  const sheet = new OffscreenCanvas(side, side), pixels = new ImageData(side, side);
  for (let i = 0; i < on.length; i++) pixels.data.set(paint(i), 4 * i);
  sheet.getContext("2d").putImageData(pixels, 0, 0);
  return sheet;
}

function stroke(pen, path, colour, width, dash = []) {
  const size = pen.canvas.width, scaled = new Path2D();
  scaled.addPath(path, new DOMMatrix([size, 0, 0, size, 0, 0]));
  pen.lineJoin = "round"; pen.setLineDash(dash);
  pen.strokeStyle = "#000000a6"; pen.lineWidth = 1.9 * width; pen.stroke(scaled);
  pen.strokeStyle = colour; pen.lineWidth = width; pen.stroke(scaled);
  pen.setLineDash([]);
}

// One image: the photograph, what the unit does there as `look` wants it, the concept's mask, and a cross where the pointer is.
function draw(canvas, {bitmap, values, limit, mask, side}, look, cross) {
  const pen = canvas.getContext("2d"), size = canvas.width, line = size / 150;
  pen.imageSmoothingEnabled = true;
  pen.fillStyle = GROUND; pen.fillRect(0, 0, size, size);
  if (bitmap) pen.drawImage(bitmap, 0, 0, size, size);
  const on = values && above(values, limit);
  if (on && look.manner === "reveal") pen.drawImage(veil(on, side, i => [6, 9, 12, on[i] ? 0 : look.dim]), 0, 0, size, size);
  if (values && look.manner === "heat") {
    const peak = values.reduce((a, b) => Math.max(a, b), -Infinity), low = Math.min(0, values.reduce((a, b) => Math.min(a, b), Infinity));
    pen.drawImage(veil(values, side, i => { const t = Math.max(0, (values[i] - low) / (peak - low || 1)); return [255, 120 + 120 * t, 40 * (1 - t), 225 * t]; }), 0, 0, size, size);
  }
  if (mask && look.mask) stroke(pen, outline(mask, side), MASK, line, [4 * line, 2.6 * line]);
  if (on) stroke(pen, outline(on, side), REGION, 1.25 * line);
  if (cross) {
    const x = (cross[1] + 0.5) / side * size, y = (cross[0] + 0.5) / side * size;
    for (const [colour, wide] of [["#000000b0", 3 * line], ["#fff", 1.3 * line]]) {
      pen.strokeStyle = colour; pen.lineWidth = wide; pen.beginPath(); pen.arc(x, y, 5.5 * line, 0, 7); pen.stroke();
    }
  }
  return on;
}

async function opened(bytes) {
  const kept = raw(bytes);
  return kept.length ? createImageBitmap(new Blob([kept.slice()])) : null;
}

// Sends at most one message until it is answered, and then the latest.
function courier(model, trait, answer) {
  let busy = false, next, timer, last;
  const same = value => last !== undefined && JSON.stringify(Array.from(value)) === last;
  const free = () => { clearTimeout(timer); busy = false; if (next !== undefined) { const value = next; next = undefined; send(value); } };
  const send = value => {
    if (busy) { next = value; return; }
    if (same(value)) return;                       // Python would see no change, and not answer
    last = JSON.stringify(Array.from(value));
    busy = true; timer = setTimeout(free, 2000);
    model.set(trait, value instanceof Uint8Array ? new DataView(value.buffer) : value); model.save_changes();
  };
  model.on(`change:${trait}`, () => { if (!busy) last = undefined; });     // set from Python
  model.on(`change:${answer}`, free);
  return send;
}

const STEPS = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
const moved = (at, [down, right], by, side) => [Math.max(0, Math.min(side - 1, at[0] + by * down)), Math.max(0, Math.min(side - 1, at[1] + by * right))];
const place = (event, canvas, side) => {
  const box = canvas.getBoundingClientRect(), cell = (at, start, length) => Math.max(0, Math.min(side - 1, Math.floor((at - start) / length * side)));
  return [cell(event.clientY, box.top, box.height), cell(event.clientX, box.left, box.width)];
};

// ---- the gallery

function gallery(model, root) {
  let tiles = [], filled = false, frame = null, cross = null, turn = 0;
  const list = h("ul", {className: "ide-images"}), empty = h("p", {className: "ide-soft"});
  const reading = h("div", {className: "ide-reading", role: "status", "aria-live": "polite"});
  const caption = h("p", {className: "ide-soft ide-which"}), captioned = () => { caption.textContent = model.get("caption"); caption.hidden = !caption.textContent; };
  root.append(caption, empty, list, reading);
  const send = courier(model, "pointer", "reading");
  const looked = () => ({manner: model.get("manner"), mask: model.get("outlined"), dim: 165});
  const held = tile => model.get("held")[0] === tile.image;

  // The slider would read out its place; what that stands for comes with the gallery's own state, after it.
  const told = () => { if (model.get("level")) root.closest(".widget-vbox")?.querySelector(".noUi-handle")?.setAttribute("aria-valuetext", model.get("level")); };

  function point(tile, at) {
    const before = cross && cross.tile;
    cross = {tile, at};
    if (before && before !== tile) paint(before);
    paint(tile);
    send([tile.image, at[0], at[1]]);
  }
  function choose(tile, at) {
    const again = held(tile) && cross && cross.at[0] === at[0] && cross.at[1] === at[1];
    model.set("held", again ? [] : [tile.image, at[0], at[1]]); model.save_changes();
    if (!again) point(tile, at);
  }
  function paint(tile) {
    const limit = model.get("limits")[tile.turn];
    tile.on = draw(tile.canvas, {...tile, limit, side: frame.side}, looked(), cross && cross.tile === tile ? cross.at : null);
    const share = tile.on ? tile.on.reduce((a, b) => a + b, 0) / tile.on.length : 0;
    const lit = tile.values ? `${said(100 * share)} % lit` : "no map here";
    tile.lit.textContent = lit;
    tile.button.setAttribute("aria-label", `Image ${tile.turn + 1}: ${tile.name}. ${tile.values ? `Peak ${said(tile.peak)}, ${lit}.` : lit}`
      + `${tile.mask ? " The concept is outlined." : ""}${tile.gone ? ` ${tile.gone}` : ""} Arrow keys move the point that is read; Enter chooses the image.`);
    tile.button.setAttribute("aria-pressed", String(held(tile)));
  }
  function all() {
    for (const tile of tiles) paint(tile);
    root.dataset.drawn = String(Number(root.dataset.drawn || 0) + 1);
    named(root); told();
    root.dataset.shows = model.get("title");
    root.dataset.lit = tiles.map(tile => tile.on ? tile.on.reduce((a, b) => a + b, 0) : 0).join(" ");
  }
  function made(one, turn) {
    const canvas = h("canvas", {width: 336, height: 336, "aria-hidden": "true"});
    const gone = one.gone ? h("span", {className: "ide-gone", textContent: one.gone}) : null;
    const button = h("button", {type: "button", className: "ide-tile"}, canvas, gone);
    const lit = h("span", {className: "ide-number"});
    const tile = {turn, image: one.image, name: one.name, gone: one.gone, peak: one.peak, canvas, button, lit, photo: one.photo,
      values: raw(one.map).length ? enlarge(numbers(one.map, Float32Array), frame) : null,
      mask: raw(one.mask).length ? unpacked(raw(one.mask), frame.side) : null};
    button.addEventListener("pointermove", event => { if (!model.get("held").length) point(tile, place(event, canvas, frame.side)); });
    button.addEventListener("click", event => choose(tile, event.detail ? place(event, canvas, frame.side) : cross && cross.tile === tile ? cross.at : [frame.side >> 1, frame.side >> 1]));
    button.addEventListener("keydown", event => {
      if (event.key === "Escape") { model.set("held", []); model.save_changes(); return; }
      if (!STEPS[event.key]) return;
      event.preventDefault();
      const at = cross && cross.tile === tile ? cross.at : [frame.side >> 1, frame.side >> 1];
      point(tile, moved(at, STEPS[event.key], event.shiftKey ? 10 : 2, frame.side));
    });
    const name = h("span", {className: "ide-name"}, word(one.name));
    name.title = one.name;
    tile.item = h("li", {}, button, h("div", {className: "ide-caption"}, name, lit));
    return tile;
  }
  async function fill() {
    const mine = ++turn, some = model.get("images");
    filled = false;
    if (!some.length) { tiles = []; list.replaceChildren(); empty.hidden = false; empty.textContent = model.get("note"); reading.hidden = true; all(); return; }
    frame = frameOf(model.get("frame"));
    const next = some.map(made), bitmaps = await Promise.all(next.map(tile => opened(tile.photo).catch(() => null)));
    if (mine !== turn) return;
    next.forEach((tile, i) => { tile.bitmap = bitmaps[i]; });
    empty.hidden = true; reading.hidden = false;
    cross = null; tiles = next; filled = true;
    list.replaceChildren(...tiles.map(tile => tile.item));
    all();
  }
  function read() {
    const found = model.get("reading");
    const chip = one => h("button", {type: "button", className: "ide-chip", disabled: one.here, onclick: () => { model.set("picked", [one.unit, Date.now()]); model.save_changes(); }},
      word(one.unit), one.label && h("span", {className: "ide-soft"}, word(one.label)), h("span", {className: "ide-number", textContent: said(one.value)}));
    const line = (title, ...inner) => h("div", {className: "ide-line"}, h("span", {className: "ide-title", textContent: title}), h("span", {className: "ide-chips"}, ...inner));
    if (!found.units) { reading.replaceChildren(h("p", {className: "ide-soft", textContent: model.get("hint")})); return; }
    reading.replaceChildren(
      line("fires here", ...found.units.map(chip), found.units.length ? null : h("span", {className: "ide-soft", textContent: "no unit"}),
        found.more > 0 && h("span", {className: "ide-soft", textContent: `and ${found.more} more`}), found.scope && h("span", {className: "ide-soft", textContent: found.scope})),
      line("shown here", ...found.concepts.map(name => h("span", {className: "ide-chip ide-concept"}, word(name))),
        found.concepts.length ? null : h("span", {className: "ide-soft", textContent: "nothing annotated"})));
  }
  model.on("change:images", fill);
  // Once the message has been taken in whole: it may bring other images, too.
  for (const name of ["limits", "manner", "outlined", "held"]) model.on(`change:${name}`, () => queueMicrotask(() => { if (filled) all(); }));
  model.on("change:reading", read); model.on("change:hint", read); model.on("change:caption", captioned); model.on("change:level", told);
  fill(); read(); captioned();
}

// ---- the bench

function bench(model, root) {
  let frame = null, on = new Uint8Array(0), before = {}, after = {}, brush = null, turn = 0, asked = 0;
  const canvas = () => h("canvas", {width: 480, height: 480, "aria-hidden": "true"});
  const left = canvas(), right = canvas();
  const paper = h("button", {type: "button", className: "ide-tile ide-paper",
    "aria-label": "The image. Drag to paint over it; or move the brush with the arrow keys, and paint with the space bar. Delete clears, [ and ] change the brush."}, left);
  const size = h("input", {type: "range", min: 1, max: 30, value: 6});
  const clear = h("button", {type: "button", className: "ide-button", textContent: "Clear the paint"});
  const other = h("div", {className: "ide-tile", role: "img"}, right), table = h("div", {className: "ide-answer", role: "status", "aria-live": "polite"});
  const tools = h("div", {className: "ide-tools"}, h("label", {}, "Brush", size), clear);
  root.append(h("div", {className: "ide-pair"},
    h("figure", {}, h("figcaption", {textContent: "As it is: paint here"}), paper),
    h("figure", {}, h("figcaption", {textContent: "Altered"}), other)), tools, table);
  const send = courier(model, "painted", "answer");
  const looked = () => ({manner: model.get("manner"), mask: false, dim: 90});

  function show() {
    if (!frame) return;
    const limits = model.get("limits");
    draw(left, {...before, limit: limits[0], side: frame.side}, looked(), null);
    const pen = left.getContext("2d");
    pen.drawImage(veil(on, frame.side, i => [255, 255, 255, on[i] ? 150 : 0]), 0, 0, left.width, left.height);
    if (on.some(Boolean)) stroke(pen, outline(on, frame.side), "#fff", 2, [5, 4]);
    if (brush) {
      pen.strokeStyle = "#fff"; pen.lineWidth = 2; pen.beginPath();
      pen.arc((brush[1] + 0.5) / frame.side * left.width, (brush[0] + 0.5) / frame.side * left.height, radius() / frame.side * left.width, 0, 7); pen.stroke();
    }
    draw(right, {...after, limit: limits[1], side: frame.side}, looked(), null);
    root.dataset.drawn = String(Number(root.dataset.drawn || 0) + 1);
  }
  const radius = () => Math.max(0.6, size.value / 100 * frame.side);
  function dab(at) {
    const far = radius();
    for (let y = Math.floor(at[0] - far); y <= at[0] + far; y++) for (let x = Math.floor(at[1] - far); x <= at[1] + far; x++)
      if (x >= 0 && y >= 0 && x < frame.side && y < frame.side && Math.hypot(y - at[0], x - at[1]) <= far) on[y * frame.side + x] = 1;
  }
  function along(from, to) {
    const steps = Math.ceil(Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), 1));
    for (let i = 0; i <= steps; i++) dab([from[0] + (to[0] - from[0]) * i / steps, from[1] + (to[1] - from[1]) * i / steps]);
  }
  const tell = () => { model.set("of", model.get("subject").turn); send(packed(on)); };
  const wipe = () => { on = new Uint8Array(frame.side ** 2); show(); tell(); };
  let last = null;
  paper.addEventListener("pointerdown", event => { if (!frame) return; paper.setPointerCapture(event.pointerId); last = brush = place(event, left, frame.side); dab(last); show(); tell(); });
  paper.addEventListener("pointermove", event => {
    if (!frame) return;
    brush = place(event, left, frame.side);
    if (last) { along(last, brush); last = brush; tell(); }
    show();
  });
  for (const name of ["pointerup", "pointercancel"]) paper.addEventListener(name, () => { if (last) { last = null; tell(); } });
  paper.addEventListener("pointerleave", () => { if (!last) { brush = null; show(); } });
  paper.addEventListener("keydown", event => {
    if (!frame) return;
    if (STEPS[event.key]) brush = moved(brush || [frame.side >> 1, frame.side >> 1], STEPS[event.key], event.shiftKey ? 10 : 3, frame.side);
    else if (event.key === " ") { brush = brush || [frame.side >> 1, frame.side >> 1]; dab(brush); tell(); }
    else if (event.key === "Delete" || event.key === "Backspace") wipe();
    else if (event.key === "[" || event.key === "]") size.value = Number(size.value) + (event.key === "]" ? 1 : -1);
    else return;
    event.preventDefault(); show();
  });
  paper.addEventListener("keyup", event => { if (event.key === " ") event.preventDefault(); });
  clear.addEventListener("click", () => { if (frame) wipe(); });

  const opening = async (bytes, map, at) => ({bitmap: await opened(bytes).catch(() => null), values: raw(map).length ? enlarge(numbers(map, Float32Array), at) : null});
  async function fill() {
    const mine = ++turn, found = model.get("subject");
    root.hidden = !found.frame;
    if (!found.frame) { frame = null; return; }
    const next = frameOf(found.frame);
    frame = next;
    on = unpacked(raw(model.get("painted")), frame.side);
    const made = await opening(found.photo, found.map, next);
    if (mine !== turn) return;
    before = made; show();
  }
  async function answer() {
    const found = model.get("answer");
    if (!frame || !found.photo) return;
    const mine = ++asked, at = frame, made = await opening(found.photo, found.map, at);
    if (mine !== asked || at !== frame) return;                 // of an answer, or a subject, that has gone
    after = made;
    other.setAttribute("aria-label", `The altered image: ${found.words}`);
    const bar = (share, kind) => { const made = h("i", {className: kind}); made.style.width = `${Math.max(0, Math.min(100, 100 * share))}%`; return made; };
    const row = one => h("tr", {}, h("th", {scope: "row"}, word(one.name)), h("td", {className: "ide-number", textContent: one.before}), h("td", {className: "ide-number", textContent: one.after}),
      h("td", {className: "ide-bars", "aria-hidden": "true"}, one.bars && h("span", {}, bar(one.bars[0], "ide-was"), bar(one.bars[1], "ide-is"))));
    table.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, h("td"), ...["as it is", "altered"].map(name => h("th", {scope: "col", textContent: name})), h("td"))),
      h("tbody", {}, ...found.rows.map(row))), ...found.notes.map(note => h("p", {className: "ide-soft", textContent: note})));
    show(); named(root);
    root.dataset.answered = String(Number(root.dataset.answered || 0) + 1);
  }
  model.on("change:subject", () => fill().then(answer)); model.on("change:answer", answer);
  model.on("change:painted", () => { if (frame) { on = unpacked(raw(model.get("painted")), frame.side); show(); } });      // here, in another view, or from code
  for (const name of ["manner", "limits"]) model.on(`change:${name}`, show);
  fill().then(answer);
}

function render({model, el}) {
  const root = h("div", {className: `ide ide-${model.get("kind")}`, role: "group"});
  root.setAttribute("aria-label", model.get("title"));
  model.on("change:title", () => root.setAttribute("aria-label", model.get("title")));
  el.append(root);
  window.addEventListener("keydown", suppressed, true);
  (model.get("kind") === "bench" ? bench : gallery)(model, root);
  return () => window.removeEventListener("keydown", suppressed, true);      // when the view is taken away
}

export default {render};

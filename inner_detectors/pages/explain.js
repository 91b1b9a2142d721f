// Why a transferred network answers as it does: an ES module for anywidget, and the script of a page by itself. All that is shown is worked out here from
// the numbers at hand; no server is asked for anything, and all names from data are set as text.

const FIRST = 8;          // concepts that are shown at once
const MOST = 3;           // standard deviations that evidence can be raised or lowered by
let views = 0;

// ---- elements, numbers

function element(space, name, traits, inner) {
  const made = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(traits || {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...inner.flat(9).filter(one => one != null && one !== false));
  return made;
}
const h = (name, traits, ...inner) => element("http://www.w3.org/1999/xhtml", name, traits, inner);
const s = (name, traits, ...inner) => element("http://www.w3.org/2000/svg", name, traits, inner);
const put = (box, ...inner) => box.replaceChildren(...inner.flat(9).filter(one => one != null && one !== false));
const word = text => h("bdi", {dir: "auto"}, text);
const signed = (value, digits = 2) => { const text = Math.abs(value).toFixed(digits); return `${Number(text) === 0 ? "" : value < 0 ? "−" : "+"}${text}`; };
const percent = value => value > 0.995 && value < 1 ? "> 99%" : value > 0 && value < 0.005 ? "< 1%" : `${Math.round(100 * value)}%`;
const several = (number, name) => `${number} ${name}${number === 1 ? "" : "s"}`;
const total = (some, value) => some.reduce((sum, one) => sum + value(one), 0);
const option = (value, text, chosen) => h("option", {value, selected: chosen}, text);

// ---- the network: a sum over detectors, as in `transfer`

function networkOf(data) {
  const {mean, scale, kernel, bias} = data.head;
  const meant = name => data.detectors.map(one => one.name === name || one.category === name || data.concepts[one.concept].name === name);
  const anyOf = names => names.map(meant).reduce((all, some) => all.map((one, i) => one || some[i]), data.detectors.map(() => false));

  function standard(evidence, raised = {}) {
    const found = evidence.map((value, i) => (value - mean[i]) / scale[i]);
    for (const [name, by] of Object.entries(raised)) meant(name).forEach((mine, i) => { if (mine) found[i] += by; });
    return found;
  }
  const scores = (evidence, struck) => bias.map((base, place) =>
    evidence.reduce((sum, value, i) => struck[i] ? sum : sum + value * kernel[i][place], base));
  function probabilities(scores) {
    if (data.several) return scores.map(one => 1 / (1 + Math.exp(-one)));
    const high = Math.max(...scores), parts = scores.map(one => Math.exp(one - high)), whole = parts.reduce((a, b) => a + b, 0);
    return parts.map(one => one / whole);
  }
  const ranked = scores => scores.map((_, place) => place).sort((a, b) => scores[b] - scores[a] || a - b);
  const said = scores => data.several ? scores.map((_, place) => place).filter(place => scores[place] > 0) : ranked(scores).slice(0, 1);
  const asked = scores => { const [of, next] = ranked(scores); return {of, against: data.several ? null : next}; };
  const weight = (i, {of, against}) => kernel[i][of] - (against == null ? 0 : kernel[i][against]);
  const base = ({of, against}) => bias[of] - (against == null ? 0 : bias[against]);
  return {anyOf, standard, scores, probabilities, ranked, said, asked, weight, base};
}

const same = (a, b) => a.length === b.length && a.every((one, i) => one === b[i]);
const right = (said, truth, classes, many) => many ? classes.filter((_, i) => said.includes(i) === truth.includes(i)).length / classes.length
  : Number(truth.includes(said[0]));

// ---- regions

function bits(text, length) {
  const packed = atob(text);
  return Array.from({length}, (_, i) => packed.charCodeAt(i >> 3) >> (7 - (i & 7)) & 1);
}

// The lit cells of a map as one shape to fill and the lines around it, in hundredths of the image.
function shapeOf(on, {rows, columns, place: [cy, cx, jy, jx]}, size) {
  const line = (cells, centre, jump) => Array.from({length: cells + 1}, (_, i) => i === 0 ? 0 : i === cells ? 100
    : Math.round(1e4 * Math.max(0, Math.min(1, (centre + jump * (i - 0.5) + 0.5) / size))) / 100);
  const x = line(columns, cx, jx), y = line(rows, cy, jy), lit = (r, c) => r >= 0 && c >= 0 && r < rows && c < columns && on[r * columns + c];
  let fill = "", edge = "";
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
    if (!lit(r, c)) continue;
    if (!lit(r, c - 1)) {
      let end = c;
      while (lit(r, end)) end++;
      fill += `M${x[c]} ${y[r]}H${x[end]}V${y[r + 1]}H${x[c]}Z`;
      edge += `M${x[c]} ${y[r]}V${y[r + 1]}`;
    }
    if (!lit(r, c + 1)) edge += `M${x[c + 1]} ${y[r]}V${y[r + 1]}`;
    if (!lit(r - 1, c)) edge += `M${x[c]} ${y[r]}H${x[c + 1]}`;
    if (!lit(r + 1, c)) edge += `M${x[c]} ${y[r + 1]}H${x[c + 1]}`;
  }
  return {fill, edge};
}

// JupyterLab takes plain keys as commands (d d deletes a cell) unless the very element that has the focus says not to.
window.addEventListener("keydown", event => {
  const at = event.target;
  if (at instanceof Element && at.closest(".idx")) at.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey || event.altKey));
}, true);

// ---- bars and cells

function sized(bar, left, width) {
  bar.style.left = `${left}%`; bar.style.width = `${width}%`;
  return bar;
}
function signedBar(value, widest) {
  const size = 50 * Math.min(1, Math.abs(value) / widest);
  return sized(h("i", {class: value < 0 && "idx-less"}), value < 0 ? 50 - size : 50, size);
}
function cell(value, most) {
  const made = h("td", {class: "idx-number"}, value === 0 ? "–" : signed(value)), share = Math.round(8 + 38 * Math.min(1, Math.abs(value) / most));
  if (value) made.style.background = `color-mix(in srgb, var(--idx-${value < 0 ? "less" : "more"}) ${share}%, transparent)`;
  return made;
}
const dimmed = (holes, name) => [s("mask", {id: name}, s("rect", {width: 100, height: 100, fill: "#fff"}), holes.map(d => s("path", {d, fill: "#000"}))),
  s("rect", {class: "idx-dim", width: 100, height: 100, mask: `url(#${name})`})];

// ---- the view

function render({model, el}) {
  const data = model.get("page"), net = networkOf(data), view = ++views, id = name => `idx-${view}-${name}`;
  const {classes, concepts, detectors, images, layers} = data, many = data.several, nobody = detectors.map(() => false);
  const members = concepts.map((_, concept) => detectors.map((_, i) => i).filter(i => detectors[i].concept === concept));
  const root = h("div", {class: "idx", role: "group", "aria-label": "Why the network answers as it does"});

  const tell = values => { for (const [name, value] of Object.entries(values)) model.set(name, value); model.save_changes(); };
  const raise = (name, by) => { const {[name]: _, ...others} = model.get("raised"); tell({raised: by === 0 ? others : {...others, [name]: by}}); };
  const allow = (name, yes) => tell({forbidden: [...model.get("forbidden").filter(one => one !== name), ...(yes ? [] : [name])]});
  const image = () => images[model.get("image")];
  const struck = () => net.anyOf(model.get("forbidden"));
  const answerOf = (one, without) => net.said(net.scores(net.standard(one.evidence), without));
  const rate = (said, one) => right(said, one.truth, classes, many);
  const isWrong = (said, one) => Boolean(one.truth) && rate(said, one) < 1;
  const named = places => places.length ? places.map((place, i) => [i > 0 && " and ", word(classes[place].shown)]) : "nothing";
  const plain = places => places.map(place => classes[place].shown).join(" and ") || "nothing";
  function state() {
    const one = image(), without = struck(), standard = net.standard(one.evidence, model.get("raised")), scores = net.scores(standard, without);
    return {one, without, standard, scores, chances: net.probabilities(scores), now: net.said(scores)};
  }

  // ---- which image
  let filter = "all";
  const strip = h("ul", {class: "idx-strip", role: "listbox", "aria-label": "Images", "aria-orientation": "horizontal", onkeydown: walk});
  const choice = h("select", {id: id("filter"), onchange: () => { filter = choice.value; fill(true); }}), none = h("span", {class: "idx-soft"});

  function kinds() {
    const without = struck(), every = images.map((_, i) => i), found = {all: every};
    const said = images.map(one => answerOf(one, without)), was = images.map(one => answerOf(one, nobody));
    const known = images.some(one => one.truth);
    if (known) found.wrong = every.filter(i => isWrong(said[i], images[i]));
    if (without.includes(true)) found.changed = every.filter(i => !same(said[i], was[i]));
    classes.forEach((_, place) => { found[place] = every.filter(i => (known ? images[i].truth || [] : said[i]).includes(place)); });
    return {found, said, was};
  }
  function fill(choose) {
    const {found, said, was} = kinds(), focused = strip.contains(document.activeElement);
    if (!found[filter]) filter = "all";
    const titles = [["all", "All"], ["wrong", "Wrong answers"], ["changed", "Answers changed by what is forbidden"]].filter(([name]) => found[name]);
    put(choice, [...titles, ...classes.map((one, place) => [String(place), one.shown])]
      .map(([name, title]) => option(name, `${title} (${found[name].length})`, name === filter)));
    const here = found[filter], now = model.get("image"), reached = here.includes(now) ? now : here[0];
    none.textContent = here.length ? "" : "No image is of this kind.";
    strip.hidden = !here.length;
    put(strip, here.map(i => tile(i, said[i], was[i], i === reached)));
    if (focused) strip.querySelector("[tabindex='0']")?.focus();
    if (choose && here.length && reached !== now) pick(reached);
  }
  function tile(place, said, was, reached) {
    const one = images[place], wrong = isWrong(said, one), changed = !same(said, was);
    const truth = one.truth ? `; in truth ${plain(one.truth)}${wrong ? ", so wrong" : ""}` : "";
    const label = `Image ${place + 1}, ${one.shown}. Answer: ${plain(said)}${truth}.${changed ? " Changed by what is forbidden." : ""} ${one.gone}`.trim();
    return h("li", {role: "option", class: "idx-tile", "data-image": place, "aria-selected": String(place === model.get("image")), "aria-label": label,
      title: label, tabindex: reached ? "0" : "-1", onclick: () => pick(place)},
    one.photo ? h("img", {src: one.photo, alt: "", draggable: "false"}) : h("span", {class: "idx-gone"}, "no image"),
    wrong && h("span", {class: "idx-mark", "aria-hidden": "true"}, "✕"),
    changed && h("span", {class: "idx-mark idx-changed", "aria-hidden": "true"}, "↺"));
  }
  function walk(event) {
    const tiles = [...strip.children], at = tiles.indexOf(document.activeElement);
    const to = {ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: tiles.length - 1, Enter: at, " ": at}[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    pick(Number(tiles[Math.max(0, Math.min(tiles.length - 1, to))].dataset.image));
  }
  function pick(place) {
    if (place !== model.get("image")) tell({image: place, raised: {}});
    const at = strip.querySelector(`[data-image='${place}']`);
    if (at) strip.scrollLeft = at.offsetLeft - strip.clientWidth / 2;
  }

  // ---- its answer
  const said = h("div", {class: "idx-said", role: "status", "aria-live": "polite"}), chances = h("ul", {class: "idx-chances", "aria-label": "Probabilities"});

  function tellAnswer({one, scores, chances: shares, now}, before) {
    const was = net.said(before), [best, next] = net.ranked(scores), old = net.probabilities(before);
    const beside = !many && [` ${percent(shares[best])} `,
      h("span", {class: "idx-soft"}, "rather than ", word(classes[next].shown), ` ${percent(shares[next])}`)];
    const wrong = isWrong(now, one), verdict = wrong ? ["✕ wrong: it is ", named(one.truth)] : "✓ right";
    const judged = one.truth && [" ", h("span", {class: `idx-chip ${wrong ? "idx-bad" : "idx-good"}`}, verdict)];
    put(said, h("p", {class: "idx-big"}, h("b", {}, named(now)), beside, judged),
      !same(scores, before) && h("p", {class: "idx-soft"}, "Without your changes: ", named(was), !many && ` ${percent(old[was[0]])}`));
    put(chances, net.ranked(scores).slice(0, 4).sort((a, b) => a - b).map(place => h("li", {class: now.includes(place) && "idx-yes"},
      h("span", {class: "idx-cut", title: classes[place].shown}, word(classes[place].shown)),
      h("span", {class: "idx-level", "aria-hidden": "true"}, sized(h("i"), 0, 100 * shares[place])),
      h("span", {class: "idx-number"}, percent(shares[place])))));
  }

  // ---- its reasons: of one class over another, a question that stays while evidence is moved
  let question = null, order = [], all = false, rows = new Map(), rest = null, widest = 0, open = new Set();
  const why = h("div", {class: "idx-why"}), list = h("ul", {class: "idx-reasons", "aria-label": "Reasons"}), sums = h("dl", {class: "idx-sums"});
  const undo = h("button", {type: "button", class: "idx-button", onclick: () => { tell({raised: {}}); list.querySelector("input")?.focus(); }},
    "Put this image's evidence back");

  function ask(wanted) {
    const own = net.standard(image().evidence), size = concept => Math.abs(total(members[concept], i => own[i] * net.weight(i, question)));
    question = wanted || net.asked(net.scores(own, struck()));
    order = concepts.map((_, concept) => concept).filter(concept => members[concept].some(i => net.weight(i, question) !== 0))
      .sort((a, b) => size(b) - size(a) || a - b);
    widest = 0; lone = null; rows = new Map();
    put(why);
    build();
    update();
  }
  function build() {
    const shown = all || order.length <= FIRST + 1 ? order : order.slice(0, FIRST);
    const heads = h("li", {class: "idx-row idx-heads idx-soft", "aria-hidden": "true"}, h("span", {}, "Concept"),
      h("span", {class: "idx-sides"}, h("span", {}, "against"), h("span", {}, "for")), h("span"),
      h("span", {title: "in standard deviations of the training images"}, "raise or lower (SD)"), h("span", {}, "forbid"));
    rest = order.length <= FIRST + 1 ? null : others(order.slice(shown.length));
    put(list, order.length ? [heads, shown.map(concept => (rows.get(concept) || reason(concept)).item), rest && rest.item]
      : h("li", {class: "idx-soft"}, "No detector has a say in this. The answer is that of the average image."));
  }
  function others(some) {
    const bar = h("span", {class: "idx-bar", "aria-hidden": "true"}), value = h("span", {class: "idx-number"});
    const turn = h("button", {type: "button", class: "idx-name idx-more", "aria-expanded": String(all),
      onclick: () => { all = !all; build(); update(); list.querySelector(".idx-more").focus(); }}, all ? "Show fewer" : several(some.length, "more concept"));
    return {some, bar, value, item: h("li", {class: "idx-row"}, turn, bar, value)};
  }
  function tick(name, shown) {
    const box = h("input", {type: "checkbox", "aria-label": `Forbid ${shown} in all images`, onchange: () => allow(name, !box.checked)});
    const update = gone => { box.checked = gone; box.disabled = gone && !model.get("forbidden").includes(name); };
    return {update, item: h("label", {class: "idx-tick"}, box, h("span", {class: "idx-narrow"}, "forbid"))};
  }
  function reason(concept) {
    const {shown, name} = concepts[concept], bar = h("span", {class: "idx-bar", "aria-hidden": "true"}), value = h("span", {class: "idx-number"});
    const by = h("output", {class: "idx-number"}), usual = h("span", {class: "idx-usual"}), forbid = tick(name, shown), parts = members[concept].map(detector);
    const slider = h("input", {type: "range", min: -MOST, max: MOST, step: "0.1", "aria-label": `Raise or lower ${shown} in this image`,
      oninput: () => raise(name, Number(slider.value)), ondblclick: () => raise(name, 0)});
    const inner = h("ul", {class: "idx-inner", id: id(`inner-${concept}`), "aria-label": `Detectors of ${shown}`}, parts.map(part => part.item));
    const turn = h("button", {type: "button", class: "idx-name", "aria-controls": inner.id, title: shown,
      onclick: () => { open.has(concept) ? open.delete(concept) : open.add(concept); update(); }}, word(shown));
    const item = h("li", {class: "idx-reason", "data-concept": concept, onpointerenter: () => alone(concept), onpointerleave: () => alone(null),
      onfocusin: () => alone(concept), onfocusout: () => alone(null)},
    h("div", {class: "idx-row"}, h("span", {class: "idx-what"}, turn, usual), bar, value, h("span", {class: "idx-slide"}, slider, by), forbid.item), inner);
    rows.set(concept, {item, bar, value, usual, slider, by, forbid, inner, turn, parts});
    return rows.get(concept);
  }
  function detector(i) {
    const {name, shown} = detectors[i], value = h("span", {class: "idx-number"}), seen = h("span", {class: "idx-soft"}), forbid = tick(name, shown);
    const item = h("li", {class: "idx-detector"}, h("span", {class: "idx-unit", title: shown}, word(shown)), seen, value, forbid.item);
    return {i, value, seen, forbid, item};
  }

  // Everything that hangs on the evidence and on what is forbidden.
  function update() {
    const here = state(), {one, without, standard} = here, before = net.scores(net.standard(one.evidence), nobody), base = net.base(question);
    const share = i => without[i] ? 0 : standard[i] * net.weight(i, question), sum = some => total(some, concept => total(members[concept], share));
    widest = Math.max(widest, Math.abs(base), ...order.map(concept => Math.abs(sum([concept]))), 1e-9);
    tellAnswer(here, before);
    tellQuestion(here);
    for (const [concept, row] of rows) updateRow(concept, row, here, share, sum([concept]));
    if (rest) {
      put(rest.bar, signedBar(sum(rest.some), widest));
      rest.value.textContent = signed(sum(rest.some));
      rest.bar.hidden = rest.value.hidden = !rest.some.length;
    }
    const lead = ["Together: ", many ? "the log-odds of " : "the lead of ", word(classes[question.of].shown),
      !many && [" over ", word(classes[question.against].shown)]];
    put(sums, [["Concepts", sum(order)], ["Bias: what the average image gets", base], [lead, base + sum(order)]]
      .map(([name, value]) => [h("dt", {}, name), h("dd", {class: "idx-number"}, signed(value))]));
    undo.hidden = !Object.keys(model.get("raised")).length;
    paint();
    effect();
    Object.assign(root.dataset, {answer: JSON.stringify(here.chances), score: base + sum(order), drawn: Number(root.dataset.drawn || 0) + 1});
  }
  function updateRow(concept, row, {without, standard}, share, value) {
    const gone = members[concept].every(i => without[i]), by = model.get("raised")[concepts[concept].name] || 0;
    put(row.bar, signedBar(value, widest));
    row.usual.textContent = usually(concept, standard);
    row.value.textContent = gone ? "forbidden" : signed(value);
    row.item.classList.toggle("idx-out", gone);
    row.slider.value = by; row.slider.disabled = gone; row.by.textContent = by ? signed(by, 1) : "0";
    row.slider.setAttribute("aria-valuetext", `${signed(by, 1)} standard deviations`);
    row.forbid.update(gone);
    row.turn.setAttribute("aria-expanded", String(open.has(concept))); row.inner.hidden = !open.has(concept);
    for (const {i, value, seen, forbid} of row.parts) {
      value.textContent = without[i] ? "forbidden" : signed(share(i));
      seen.textContent = `${signed(standard[i], 1)} SD from the average × weight ${signed(net.weight(i, question))}; `
        + `score as a detector ${detectors[i].score.toFixed(2)}`;
      forbid.update(without[i]);
    }
  }
  function tellQuestion({scores, now}) {
    if (why.contains(document.activeElement)) return;          // a select that is being used stays
    const select = (kind, other, label) => h("select", {"aria-label": label, "data-kind": kind, onchange: event => {
      ask({...question, [kind]: Number(event.target.value)});
      why.querySelector(`[data-kind=${kind}]`).focus();
    }}, classes.map((one, place) => place !== question[other] && option(place, one.shown, place === question[kind])));
    const turn = !many && now[0] !== question.of && h("button", {type: "button", class: "idx-button",
      onclick: () => { ask(net.asked(scores)); why.querySelector("select").focus(); }}, "Why ", word(classes[now[0]].shown), "?");
    const beside = !many && [" rather than ", select("against", "of", "rather than this class")];
    put(why, h("h3", {}, "Why ", select("of", "against", "Why this class"), beside, "?"), turn);
  }
  // How a concept's evidence differs from the average image's, by the detectors that weigh here.
  function usually(concept, standard) {
    const size = i => Math.abs(net.weight(i, question)), far = total(members[concept], i => size(i) * standard[i]) / (total(members[concept], size) || 1);
    return Math.abs(far) < 0.1 ? "as usual" : `${Math.abs(far) < 1 ? "a little " : Math.abs(far) > 2 ? "much " : ""}${far < 0 ? "less" : "more"} than usual`;
  }

  // ---- where they are
  let lone = null, shapes = new Map();
  const frame = h("div", {class: "idx-image"}), caption = h("figcaption", {class: "idx-soft"});

  function place() {
    const one = image(), alt = `${one.shown}${one.truth ? `, in truth ${plain(one.truth)}` : ""}`;
    shapes = new Map(one.lit.map(([i, text]) => {
      const layer = layers[detectors[i].layer];
      return [i, shapeOf(bits(text, layer.rows * layer.columns), layer, data.size)];
    }));
    put(frame, one.photo ? h("img", {src: one.photo, alt}) : h("span", {class: "idx-gone", role: "img", "aria-label": one.gone}, one.gone),
      s("svg", {viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true"}));
  }
  function alone(concept) { if (lone !== concept) { lone = concept; paint(); } }

  function paint() {
    const {without, standard, chances, now} = state(), parts = [];
    for (const [concept, {item}] of rows) item.classList.toggle("idx-lone", concept === lone);
    for (const concept of lone == null ? order.slice(0, FIRST).reverse() : [lone]) {
      const here = members[concept].filter(i => shapes.has(i) && (lone != null || !without[i]));
      if (!here.length) continue;
      const lines = name => here.map(i => s("path", {class: name, d: shapes.get(i).edge}));
      if (lone != null) parts.push(dimmed(here.map(i => shapes.get(i).fill), id("mask")));
      const sum = total(here, i => standard[i] * net.weight(i, question));
      parts.push(s("g", {class: sum < 0 ? "idx-against" : "idx-for"}, lines("idx-under"), lines("idx-over")));
    }
    put(frame.querySelector("svg"), parts);
    const brief = h("b", {class: "idx-brief"}, named(now), !many && ` ${percent(chances[now[0]])}`);
    put(caption, brief, lone == null ? [word(image().shown), ". ", legend(parts.length > 0)] : [word(concepts[lone].shown),
      parts.length ? ": where its detectors are above their thresholds." : ": none of its detectors is above its threshold here, and that counts, too."]);
  }
  const legend = drawn => drawn ? ["Outlined: where its reasons were seen, ", h("span", {class: "idx-key-for"}, "solid"), " for and ",
    h("span", {class: "idx-key-against"}, "dashed"), " against. Point at a reason to see its place alone."]
    : data.noplace || "None of its reasons was seen in a place: it rests on what is missing, or on detectors without maps.";

  // ---- what forbidding does
  const effects = h("div", {role: "status", "aria-live": "polite", class: "idx-effect"}), chips = h("div", {class: "idx-chips"});
  const reset = h("button", {type: "button", class: "idx-button", onclick: () => { tell({forbidden: [], raised: {}}); choice.focus(); }}, "Reset all");

  function effect() {
    const names = model.get("forbidden"), {said: now, was} = kinds(), judged = images.map((_, i) => i).filter(i => images[i].truth);
    const share = said => total(judged, i => rate(said[i], images[i])) / judged.length;
    const changed = now.filter((one, i) => !same(one, was[i])).length;
    const before = judged.length ? share(was) : "", after = judged.length ? share(now) : "", shown = several(images.length, "image");
    const rightly = many ? `answers to the ${shown} shown are right` : `${shown} shown are answered rightly`;
    const first = !judged.length ? "" : ` ${percent(before)} of the ${rightly}.`
      + " They were chosen to show right and wrong answers of each class, so this share says nothing of others.";
    put(effects, !names.length ? `Nothing is forbidden.${first}`
      : `${changed} of the ${shown} shown ${changed === 1 ? "changes its answer" : "change their answers"}`
      + (judged.length ? `; right: ${percent(before)} before, ${percent(after)} now.` : "."));
    const known = [...concepts, ...detectors], textOf = name => (known.find(one => one.name === name) || {shown: name.slice(0, 60)}).shown;
    put(chips, names.map(name => h("button", {type: "button", class: "idx-chip", "aria-label": `Allow ${textOf(name)} again`,
      onclick: () => { allow(name, true); choice.focus(); }}, word(textOf(name)), h("span", {"aria-hidden": "true"}, "×"))));
    reset.hidden = !names.length && !Object.keys(model.get("raised")).length;
    Object.assign(root.dataset, {changed, before, after});
  }

  // ---- one class
  const which = h("select", {id: id("class"), onchange: () => tell({class_name: which.value})}, classes.map(one => option(one.name, one.shown)));
  const weights = h("ul", {class: "idx-weights", "aria-label": "Weights of its concepts"});
  const weightOf = (concept, place) => total(members[concept], i => data.head.kernel[i][place]);

  function classed() {
    const at = Math.max(0, classes.findIndex(one => one.name === model.get("class_name"))), without = struck(), own = i => data.head.kernel[i][at] !== 0;
    const some = concepts.map((_, concept) => concept).filter(concept => members[concept].some(own))
      .sort((a, b) => Math.abs(weightOf(b, at)) - Math.abs(weightOf(a, at)) || a - b);
    const most = Math.max(1e-9, ...some.map(concept => Math.abs(weightOf(concept, at))));
    which.selectedIndex = at;
    put(weights, some.length ? some.map(concept => {
      const {shown} = concepts[concept], out = members[concept].every(i => without[i]);
      return h("li", {class: `idx-row${out ? " idx-out" : ""}`}, h("span", {class: "idx-cut", title: shown}, word(shown)),
        h("span", {class: "idx-bar", "aria-hidden": "true"}, signedBar(weightOf(concept, at), most)),
        h("span", {class: "idx-number"}, signed(weightOf(concept, at))),
        h("span", {class: "idx-soft"}, several(members[concept].filter(own).length, "detector"), out && ", forbidden"));
    }) : h("li", {class: "idx-soft"}, "No concept has a weight for it."));
  }

  // ---- the network
  let sorted = {by: "size", falling: true};
  const expanded = new Set(), whole = h("div", {class: "idx-scroll", tabindex: "0", role: "region", "aria-label": "Weights of all concepts for all classes"});
  const most = Math.max(1e-9, ...concepts.flatMap((_, concept) => classes.map((_, place) => Math.abs(weightOf(concept, place)))));

  function table() {
    const size = concept => Math.max(...classes.map((_, place) => Math.abs(weightOf(concept, place)))), turn = sorted.falling ? 1 : -1;
    const key = sorted.by === "size" ? size : concept => weightOf(concept, sorted.by);
    const compare = sorted.by === "name" ? (a, b) => -turn * concepts[a].shown.localeCompare(concepts[b].shown) : (a, b) => turn * (key(b) - key(a)) || a - b;
    put(whole, h("table", {}, h("thead", {}, h("tr", {}, column("name", "Concept"), classes.map((one, place) => column(place, word(one.shown))))),
      h("tbody", {}, concepts.map((_, concept) => concept).sort(compare).map(line),
        h("tr", {class: "idx-bias"}, h("th", {scope: "row"}, "Bias"), data.head.bias.map(value => cell(value, most))))));
  }
  function column(by, inner) {
    const mine = sorted.by === by, sort = () => {
      sorted = {by, falling: mine ? !sorted.falling : by !== "name"};
      table();
      whole.querySelector(`[data-by='${by}']`).focus();
    };
    return h("th", {scope: "col", "aria-sort": mine && (sorted.falling ? "descending" : "ascending")},
      h("button", {type: "button", "data-by": by, onclick: sort}, inner, mine && h("span", {"aria-hidden": "true"}, sorted.falling ? " ↓" : " ↑")));
  }
  function line(concept) {
    const shown = expanded.has(concept), turn = () => {
      shown ? expanded.delete(concept) : expanded.add(concept);
      table();
      whole.querySelector(`[data-row='${concept}']`).focus();
    };
    const button = h("button", {type: "button", class: "idx-name", "data-row": concept, "aria-expanded": String(shown), title: concepts[concept].shown,
      onclick: turn}, word(concepts[concept].shown));
    const part = i => h("tr", {class: "idx-part"}, h("th", {scope: "row"}, h("span", {class: "idx-unit"}, word(detectors[i].shown))),
      data.head.kernel[i].map(value => cell(value, most)));
    return [h("tr", {}, h("th", {scope: "row"}, button), classes.map((_, place) => cell(weightOf(concept, place), most))), shown && members[concept].map(part)];
  }

  // ---- together
  const section = (name, title, ...inner) => h("section", {class: "idx-section", "aria-labelledby": id(`title-${name}`)},
    h("h2", {id: id(`title-${name}`)}, title), inner);
  const labelled = (text, select, ...more) => h("div", {class: "idx-tools"}, h("label", {for: select.id}, text), select, more);
  const soft = text => h("p", {class: "idx-soft"}, text);
  const lost = data.problems.length > 0 && h("details", {class: "idx-soft"}, h("summary", {}, `${several(data.problems.length, "image")} could not be read`),
    h("ul", {}, data.problems.map(text => h("li", {}, word(text)))));
  put(root,
    section("one", "One image", labelled("Images", choice, none), strip, lost,
      h("div", {class: "idx-pair"}, h("figure", {}, frame, caption), h("div", {}, said, chances, why, list, sums, undo)),
      h("div", {class: "idx-forbidden"}, effects, chips, reset)),
    section("class", "One class", soft("How much each concept speaks for it or against it, for one standard deviation of evidence."),
      labelled("Class", which), weights),
    section("all", "The whole network", soft("Every weight there is. A concept with several detectors has the sum of theirs; open it to see them."), whole),
    data.made.length > 0 && h("details", {class: "idx-made"}, h("summary", {}, "How it was made"),
      h("dl", {class: "idx-facts"}, data.made.map(([name, text]) => [h("dt", {}, name), h("dd", {}, word(text))]))));
  el.append(root);

  const another = () => { open = new Set(); all = false; fill(); place(); ask(); };
  const heard = {image: another, raised: update, forbidden: () => { fill(); update(); classed(); }, class_name: classed};
  const listeners = Object.entries(heard).map(([name, work]) => [`change:${name}`, () => work()]);
  for (const [name, work] of listeners) model.on(name, work);
  another(); classed(); table();
  return () => { for (const [name, work] of listeners) model.off(name, work); };
}

// What anywidget's model does, for a page without a kernel.
function held(values) {
  const listeners = {};
  let changed = new Set();
  return {
    get: name => values[name],
    set: (name, value) => { if (JSON.stringify(values[name]) !== JSON.stringify(value)) { values[name] = value; changed.add(name); } },
    save_changes: () => { const now = changed; changed = new Set(); for (const name of now) for (const heard of listeners[`change:${name}`] || []) heard(); },
    on: (name, heard) => { (listeners[name] ||= []).push(heard); },
    off: (name, heard) => { listeners[name] = (listeners[name] || []).filter(one => one !== heard); },
  };
}

export default {render};

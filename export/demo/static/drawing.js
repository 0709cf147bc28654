// Boxes over a picture. Boxes are [y0, x0, y1, x1] in pixels of the picture.

const SVG = "http://www.w3.org/2000/svg";
const NOTE = "#b01818";
const LABEL = 13;  // Pixels of the screen.

export function element(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// What a view shows: {size: [height, width], boxes: [{box, color, label, dashed, faint}], note}; `redraw` draws it again.
const shown = new Map();

export function draw(view, size, boxes, note = "") {
  shown.set(view, {size, boxes, note});
  redrawView(view);
}

export function redraw() {
  for (const view of shown.keys()) redrawView(view);
}

function redrawView(view) {
  const {size: [height, width], boxes, note} = shown.get(view);
  const svg = view.querySelector("svg");
  const scale = width / (view.clientWidth || width);  // Pixels of the picture in one of the screen.
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const taken = [];
  if (note) tag(svg, [0, 0, 0, 0], NOTE, note, scale, [height, width], taken);
  for (const {box: [top, left, bottom, right], color, label, dashed, faint} of boxes) {
    const group = element("g", faint ? {class: "faint"} : {});
    const place = {x: left, y: top, width: Math.max(right - left, 0), height: Math.max(bottom - top, 0)};
    group.append(
      element("rect", {...place, class: "edge"}),
      element("rect", {...place, class: dashed ? "line dashed" : "line", stroke: color}),
    );
    svg.append(group);
    if (label && !faint) tag(svg, [top, left, bottom, right], color, label, scale, [height, width], taken);
  }
}

// A label where it hides least of the others: above the box, below it, or in it.
function tag(svg, [top, left, bottom, right], color, label, scale, [height, width], taken) {
  const text = element("text", {"font-size": LABEL * scale}, label);
  svg.append(text);
  const wide = text.getComputedTextLength() + 8 * scale, high = (LABEL + 6) * scale;
  const places = [];
  for (const y of [top - high, bottom, top, bottom - high])
    for (const x of [left, right - wide]) {
      const at = {x: Math.max(0, Math.min(x, width - wide)), y: Math.max(0, Math.min(y, height - high))};
      places.push({...at, hidden: taken.reduce((sum, other) => sum + overlap(at, other, wide, high), 0)});
    }
  const best = places.reduce((one, other) => (other.hidden < one.hidden ? other : one));
  taken.push({x: best.x, y: best.y, wide, high});
  const back = element("rect", {x: best.x, y: best.y, width: wide, height: high, fill: color});
  text.setAttribute("x", best.x + 4 * scale);
  text.setAttribute("y", best.y + LABEL * scale);
  svg.insertBefore(back, text);
}

function overlap(at, other, wide, high) {
  const x = Math.min(at.x + wide, other.x + other.wide) - Math.max(at.x, other.x);
  const y = Math.min(at.y + high, other.y + other.high) - Math.max(at.y, other.y);
  return Math.max(x, 0) * Math.max(y, 0);
}

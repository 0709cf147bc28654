import {draw, redraw} from "./drawing.js";
import {layOut, showGraph} from "./graph.js";

const byId = (id) => document.getElementById(id);
const SUBJECT = "#008a3f", OBJECT = "#8f2dde";  // As in the pictures of the commands.

let about = null;
let picture = null;  // {name, file, key, size, address}
let asked = null;  // {text, answer}
let turn = 0;  // Of pictures: what belongs to an earlier one comes too late.

function tell(error) {
  byId("error").textContent = error;
  byId("error").hidden = !error;
  if (error) byId("error").scrollIntoView({block: "nearest"});
}

// A reply as JSON, or an Error with a sentence.
async function call(address, body) {
  let response;
  try {
    response = await fetch(address, body === undefined ? {} : {method: "POST", body});
  } catch {
    throw new Error("The program behind this page does not answer. Is it still running?");
  }
  const found = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw Object.assign(new Error(found.error || `The page's server answered ${response.status}.`), {
      status: response.status,
    });
  }
  return found;
}

async function working(what, work) {
  tell("");
  byId("busy").textContent = what;
  try {
    await work();
  } catch (error) {
    tell(error.message);
  } finally {
    byId("busy").textContent = "";
  }
}

function show(file, name) {
  const mine = ++turn;
  return working("Looking at the picture …", async () => {
    const seen = await call("pictures", file);
    if (mine !== turn) return;
    if (picture) URL.revokeObjectURL(picture.address);
    picture = {name, file, key: seen.key, size: seen.size, address: URL.createObjectURL(file)};
    asked = null;
    byId("answer").replaceChildren();
    byId("take").hidden = true;
    byId("text").value = "";
    byId("ask").hidden = byId("graph").hidden = false;
    for (const view of [byId("answer-view"), byId("graph-view")]) {
      const image = view.querySelector("img");
      [image.height, image.width] = seen.size;
      image.src = picture.address;
    }
    byId("answer-view").querySelector("img").alt = `The picture ${name}`;
    draw(byId("answer-view"), seen.size, []);
    byId("questions").replaceChildren(...seen.questions.map((text) => button(text, () => {
      byId("text").value = text;
      ask();
    })));
    byId("graph-problem").textContent = seen.problem;
    byId("graph-parts").hidden = !seen.graph;
    if (seen.graph) {
      const view = byId("graph-view");
      view.querySelector("img").alt = `The picture ${name} with the boxes of all things`;
      showGraph({nodes: byId("nodes"), list: byId("relations"), view}, seen.graph, seen.size);
      byId("graph-png").href = `pictures/${seen.key}/graph.png`;
      save(byId("graph-json"), seen.graph);
    }
  });
}

function ask() {
  const text = byId("text").value.trim(), mine = turn;
  return working("Looking …", async () => {
    const body = JSON.stringify({text});
    let answer;
    try {
      answer = await call(`pictures/${picture.key}/questions`, body);
    } catch (error) {
      if (error.status !== 410) throw error;
      await call("pictures", picture.file);  // The server has forgotten it.
      answer = await call(`pictures/${picture.key}/questions`, body);
    }
    if (mine !== turn) return;
    asked = {text, answer};
    save(byId("answer-json"), answer);
    byId("take").hidden = false;
    showAnswer();
  });
}

function showAnswer() {
  const threshold = Number(byId("threshold").value);
  byId("threshold-value").textContent = threshold.toFixed(2);
  if (!asked) return;
  const {text, answer} = asked, probability = answer.answer_probability;
  const found = probability === null || probability >= threshold;
  const boxes = [];
  for (const [role, color] of [["subject", SUBJECT], ["object", OBJECT]])
    answer[`${role}_boxes`].forEach((box, number) => {
      boxes.push({box, color, label: answer[`${role}_scores`][number].toFixed(2), dashed: !found});
    });
  const told = probability === null ? "" : ` (${probability.toFixed(2)})`;
  draw(byId("answer-view"), picture.size, boxes, found ? "" : `not found${told}`);
  const where = (role) => paragraph(role, `${role}: ` + answer[`${role}_boxes`].map(
    (box, number) => `[${box.map((value) => value.toFixed(0)).join(", ")}] ${answer[`${role}_scores`][number].toFixed(2)}`,
  ).join("; "));
  byId("answer").replaceChildren(
    paragraph(found ? "verdict" : "verdict not", `${text}: ${found ? "found" : "not found"}${told}`),
    where("subject"), where("object"),
    ...(answer.understood ? [paragraph("quiet", `Understood: ${answer.understood}`)] : []),
  );
  byId("answer-png").href = `pictures/${picture.key}/answer.png?` + new URLSearchParams({text, threshold});
  const command = ["dsg-ask", ...about.flag, picture.name, text, `--threshold=${threshold}`, "--output=answer.png"];
  byId("command").textContent = command.map(quoted).join(" ");
  const values = {PICTURE: JSON.stringify(picture.name), TEXT: JSON.stringify(text), THRESHOLD: String(threshold)};
  byId("python").textContent = about.python.join("\n").replace(/PICTURE|TEXT|THRESHOLD/g, (name) => values[name]);
}

// A word of a POSIX shell.
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

function paragraph(style, text) {
  const made = document.createElement("p");
  made.className = style;
  made.textContent = text;
  return made;
}

function button(text, press) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", press);
  return made;
}

function save(link, value) {
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2) + "\n"], {type: "application/json"}));
}

async function copy(from, pressed) {
  const text = byId(from).textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // Only over HTTPS and from this machine may a page write there: it selects the text instead.
    getSelection().selectAllChildren(byId(from));
    if (!document.execCommand("copy")) return tell("The browser does not let the page copy: the text is selected.");
  }
  const before = pressed.textContent;
  pressed.textContent = "Copied";
  setTimeout(() => { pressed.textContent = before; }, 1500);
}

function take(files) {
  const file = [...files].find((one) => one.type.startsWith("image/")) || files[0];
  if (file) show(file, file.name || "picture.png");
}

byId("file").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = "";
});
for (const event of ["dragover", "dragleave", "drop"])
  addEventListener(event, (dragged) => {
    dragged.preventDefault();
    byId("drop").classList.toggle("over", event === "dragover");
    if (event === "drop") take(dragged.dataTransfer.files);
  });
addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
byId("threshold").addEventListener("input", showAnswer);
for (const pressed of document.querySelectorAll("[data-copies]"))
  pressed.addEventListener("click", () => copy(pressed.dataset.copies, pressed));
let width = innerWidth;
addEventListener("resize", () => {
  redraw();
  if (innerWidth !== width) layOut();
  width = innerWidth;
});

await working("", async () => {
  about = await call("about");
  byId("model").textContent = about.flag.join(" ");
  byId("examples").replaceChildren(...about.examples.map((number) => {
    const name = `example-${number + 1}.jpg`, made = button("", () => working("", async () => {
      const response = await fetch(`examples/${number}.jpg`);
      await show(await response.blob(), name);
    }));
    const image = document.createElement("img");
    image.src = `examples/${number}.jpg`;
    image.alt = `Example ${number + 1}`;
    made.append(image);
    return made;
  }));
});

"use strict";

const STORED = "windback-key";
const PATIENCE_MS = 30000;
const key = document.querySelector("#key");

function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function address(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  for (const field of form.querySelectorAll("[data-in]")) {
    if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(field.value).replaceAll("%40", "@"));
    if (field.dataset.in === "query" && field.value) query.set(field.name, field.value);
  }
  return location.origin + path + (query.size ? `?${query}` : "");
}

function command(form) {
  const { method } = form.dataset;
  const lines = [`curl ${method === "GET" ? "" : `-X ${method} `}${quoted(address(form))}`];
  if ("key" in form.dataset) lines.push('-H "X-API-Key: $KEY"');
  if (form.body) lines.push(`-d ${quoted(form.body.value)}`);
  return lines.join(" \\\n  ");
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function show(figure, status, note, text) {
  const badge = document.createElement("b");
  badge.className = `status s${String(status)[0]}`;
  badge.textContent = status;
  figure.querySelector("figcaption").replaceChildren(badge, ` ${note}`);
  figure.querySelector("pre").textContent = text;
  figure.hidden = false;
}

async function send(form, figure) {
  const options = { method: form.dataset.method, headers: {}, signal: AbortSignal.timeout(PATIENCE_MS) };
  if ("key" in form.dataset && key.value) options.headers["X-API-Key"] = key.value.trim();
  if (form.body) {
    options.headers["Content-Type"] = "application/json";
    options.body = form.body.value;
  }
  const began = performance.now();
  try {
    const response = await fetch(address(form), options);
    const text = await response.text();
    const wait = response.headers.get("Retry-After");
    const note = `${Math.round(performance.now() - began)} ms${wait ? `, Retry-After: ${wait}` : ""}`;
    show(figure, response.status, note, pretty(text));
  } catch (error) {
    show(figure, "—", "No answer", error.message);
  }
}

function prepare(form) {
  const article = form.closest("article");
  const curl = article.querySelector(".curl");
  const copy = article.querySelector(".copy");
  const answer = article.querySelector(".answer");
  const submit = form.querySelector("[type=submit]");
  const write = () => (curl.textContent = command(form));
  form.hidden = false;
  form.addEventListener("input", write);
  form.addEventListener("click", (event) => {
    const { example } = event.target.dataset;
    if (example === undefined) return;
    form.body.value = example;
    write();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    await send(form, answer);
    submit.disabled = false;
    submit.focus();
  });
  prepareCopy(copy, curl);
  write();
}

function prepareCopy(button, text) {
  if (!navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

function prepareSnippet(snippet) {
  snippet.textContent = snippet.textContent.replaceAll("http://127.0.0.1:8000", location.origin);
  prepareCopy(snippet.closest("figure").querySelector(".copy"), snippet);
}

function prepareKey() {
  const form = document.querySelector("#key-form");
  const button = document.querySelector("#show-key");
  form.hidden = false;
  key.value = sessionStorage.getItem(STORED) ?? "";
  key.addEventListener("input", () => sessionStorage.setItem(STORED, key.value));
  form.addEventListener("submit", (event) => event.preventDefault());
  button.addEventListener("click", () => {
    const shown = key.type === "text";
    key.type = shown ? "password" : "text";
    button.textContent = shown ? "Show" : "Hide";
    button.setAttribute("aria-pressed", String(!shown));
  });
}

prepareKey();
document.querySelectorAll("form.try").forEach(prepare);
document.querySelectorAll(".snippet").forEach(prepareSnippet);

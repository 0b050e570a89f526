"use strict";

// Copy buttons: hidden without a script, since without one they can do nothing.
for (const button of document.querySelectorAll("button[data-copies]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copies);
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1500);
  });
}

// "/" goes to the search, as in many products.
document.addEventListener("keydown", (event) => {
  const field = document.querySelector("input[type=search]");
  const busy = event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey;
  if (event.key !== "/" || busy || !field) return;
  event.preventDefault();
  field.focus();
});

// Times are in the account's zone; on hover in the browser's, too. A click or a tap shows the exact time.
for (const time of document.querySelectorAll("time[title]")) {
  const moment = new Date(time.dateTime);
  if (Number.isNaN(moment.getTime())) continue;
  const [words, exact] = [time.textContent, time.title];
  const here = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  time.title = `${exact} (${here} on this device)`;
  time.dataset.words = words;
  time.dataset.exact = exact;
  if (time.closest("a, button, summary")) continue;
  time.addEventListener("click", () => (time.textContent = time.textContent === words ? exact : words));
}
for (const button of document.querySelectorAll("button[data-shows-times]")) {
  const times = document.querySelectorAll("time[data-words]");
  button.hidden = times.length === 0;
  button.addEventListener("click", () => {
    const exact = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", exact);
    for (const time of times) time.textContent = exact ? time.dataset.exact : time.dataset.words;
  });
}

// The navigation is scrolled to the current page where it doesn't fit.
for (const current of document.querySelectorAll(".top nav [aria-current], .tabs [aria-current]")) {
  const box = current.closest("nav");
  box.scrollLeft = current.offsetLeft - box.offsetLeft - (box.clientWidth - current.offsetWidth) / 2;
}

// Charts tell their values to a mouse, a finger, and the keyboard: arrow keys walk along, Escape ends it.
const tip = document.body.appendChild(document.createElement("div"));
tip.className = "tip";
tip.setAttribute("role", "status");
tip.hidden = true;
let pointed = null;
const point = (part) => {
  pointed?.classList.remove("pointed");
  pointed = part;
  tip.hidden = !part;
  if (!part) return;
  part.classList.add("pointed");
  tip.textContent = part.dataset.tip;
  const place = part.getBoundingClientRect();
  const left = place.left + place.width / 2 - tip.offsetWidth / 2;
  const edge = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(8, Math.min(left, edge)) + scrollX}px`;
  tip.style.top = `${place.top - tip.offsetHeight - 6 + scrollY}px`;
};
for (const chart of document.querySelectorAll("svg.framed")) {
  const parts = [...chart.querySelectorAll(".hover, .mark, .group")].filter((part) => part.querySelector("title"));
  for (const part of parts) {
    const title = part.querySelector("title");
    part.dataset.tip = title.textContent;
    title.remove();
  }
  if (!parts.length) continue;
  const steps = parts.filter((part) => !part.closest("a"));
  steps.sort((a, b) => a.getBoundingClientRect().left - b.getBoundingClientRect().left);
  chart.tabIndex = 0;
  let touched = null;
  chart.addEventListener("pointerdown", (event) => {
    const part = event.target.closest("[data-tip]");
    touched = event.pointerType === "mouse" || part === pointed ? null : part;
    point(part);
  });
  chart.addEventListener("click", (event) => touched && event.preventDefault()); // the first touch only tells
  chart.addEventListener("pointermove", (event) => event.pointerType === "mouse" && point(event.target.closest("[data-tip]")));
  chart.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && point(null));
  chart.addEventListener("blur", () => point(null));
  chart.addEventListener("focus", () => chart.matches(":focus-visible") && point(steps.at(-1)));
  chart.addEventListener("keydown", (event) => {
    const at = steps.indexOf(pointed);
    const last = steps.length - 1;
    const next = { ArrowLeft: Math.max(at - 1, 0), ArrowRight: Math.min(at + 1, last), Home: 0, End: last }[event.key];
    if (event.key === "Escape") point(null);
    if (next === undefined) return;
    event.preventDefault();
    point(steps[next]);
  });
}

// The settings can take the browser's time zone.
for (const button of document.querySelectorAll("button[data-picks-zone]")) {
  const field = document.getElementById(button.dataset.picksZone);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  button.hidden = ![...field.options].some((option) => option.value === zone);
  button.addEventListener("click", () => (field.value = zone));
}

// The welcome page notices the first event.
const waiting = document.querySelector("[data-waits-for]");
if (waiting) {
  setInterval(async () => {
    try {
      const answer = await fetch(waiting.dataset.waitsFor, { headers: { accept: "application/json" } });
      if (answer.ok && (await answer.json()).arrived) location.reload();
    } catch {
      // away for a moment: the next try is soon
    }
  }, 2000);
}

// A page at work shows how far it is: its part is loaded anew, and the whole page when the work is done.
const live = document.querySelector("[data-refreshes]");
if (live) {
  const timer = setInterval(async () => {
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-refreshes]");
      if (answer.ok && next) return live.replaceChildren(...next.childNodes);
      clearInterval(timer);
      location.reload();
    } catch {
      // away for a moment: the next try is soon
    }
  }, 1000);
}

// An upload shows how far it is, and a file that is too large isn't sent.
const TOO_LARGE_FOR_PROXY =
  "The proxy in front of Windback takes no file of this size (nginx: client_max_body_size). Pack it with gzip, or use windback import.";
const upload = document.querySelector("form[data-upload]");
if (upload) {
  const status = upload.querySelector("[data-upload-status]");
  const say = (text) => ((status.hidden = false), (status.textContent = text));
  upload.addEventListener("submit", (event) => {
    event.preventDefault();
    const size = [...upload.querySelectorAll("input[type=file]")].reduce((sum, input) => sum + (input.files[0]?.size ?? 0), 0);
    const most = Number(upload.dataset.mostBytes);
    if (size > most) return say(`The file is over ${Math.floor(most / 1e6)} MB. Pack it with gzip, split it, or use windback import.`);
    const request = new XMLHttpRequest();
    const button = upload.querySelector("button");
    button.disabled = true;
    request.upload.addEventListener("progress", ({ loaded, total }) => say(`${Math.floor((100 * loaded) / total)}% uploaded`));
    request.addEventListener("load", () => {
      if (request.status < 400) return location.assign(request.responseURL);
      const page = new DOMParser().parseFromString(request.responseText, "text/html");
      button.disabled = false;
      const fault = page.querySelector(".notice.bad") ?? page.querySelector("main p");
      const other = request.status === 413 ? TOO_LARGE_FOR_PROXY : "The upload failed; try again.";
      say(fault?.textContent.trim() ?? other);
    });
    request.addEventListener("error", () => ((button.disabled = false), say("The connection was lost; try again.")));
    request.open("POST", upload.action);
    request.setRequestHeader("accept", "text/html");
    request.send(new FormData(upload));
  });
}

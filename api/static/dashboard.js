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

// Times are UTC; on hover they are in the time zone of the browser, too.
for (const time of document.querySelectorAll("time[title]")) {
  const local = new Date(time.dateTime);
  if (!Number.isNaN(local.getTime())) time.title = `${local.toLocaleString()} here, ${time.title}`;
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
